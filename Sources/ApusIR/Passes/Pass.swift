/// A rewrite of a kernel that keeps its meaning: same memory effects, same synchronisation.
///
/// A pass takes a kernel that verifies and gives one that does. Passes never touch variables'
/// order of reads and writes: only immutable values move or merge.
public protocol Pass: Sendable {
  /// The name in listings.
  static var name: String { get }
  /// The rewritten kernel.
  static func run(_ kernel: KernelIR) -> KernelIR
}

extension KernelIR {
  /// The passes every back end wants, in order: folding exposes equal expressions, merging them
  /// exposes address sums, and what they leave unused is dropped last.
  public static let standardPasses: [any Pass.Type] = [
    ConstantFolding.self, CommonSubexpressions.self, AddressOffsets.self, DeadCode.self,
  ]

  /// The kernel after `standardPasses`.
  public func optimised() -> KernelIR {
    Self.standardPasses.reduce(self) { kernel, pass in pass.run(kernel) }
  }
}

/// Values replaced by other operands, resolved to the end of each chain.
struct Substitution {
  private var replacements: [ValueID: Operand] = [:]

  subscript(operand: Operand) -> Operand {
    guard let id = operand.valueID else { return operand }
    return replacements[id] ?? operand
  }

  /// Replaces `value` by an operand that is a constant or an immutable value.
  mutating func replace(_ value: ValueID, by operand: Operand) {
    replacements[value] = self[operand]
  }

  func apply(to node: inout Node) {
    guard !replacements.isEmpty else { return }
    for index in node.operands.indices { node.operands[index] = self[node.operands[index]] }
  }
}

extension KernelIR {
  /// Whether an operand keeps its content: a constant or an immutable value.
  func isImmutable(_ operand: Operand) -> Bool {
    operand.valueID.map { self[$0].kind == .immutable } ?? true
  }
}

extension KernelIR {
  /// Values that a `wgmma` takes as A registers. They rest while it is in flight, so no pass gives
  /// them a second use or another home.
  var wgmmaRegisterOperands: Set<ValueID> {
    var registers = Set<ValueID>()
    body.forEachNode { node, _ in
      guard case .tensorCore(.wgmma(let shape)) = node.op, shape.aInRegisters else { return }
      registers.formUnion(
        node.operands.dropFirst(shape.accumulatorCount).prefix(shape.aCount)
          .compactMap(\.valueID))
    }
    return registers
  }
}
