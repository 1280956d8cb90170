/// A rewrite of a kernel that keeps its meaning: same memory effects, same synchronisation.
///
/// A pass takes a kernel that verifies and gives one that does. Passes never touch variables'
/// order of reads and writes: only immutable values move or merge.
public protocol Pass: Sendable {
  /// The name in listings.
  static var name: String { get }
  /// Rewrites the kernel in its place: nodes that stay are neither copied nor moved to new storage.
  ///
  /// - Parameter facts: of this kernel, before any pass or after others.
  static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts)
}

/// What one look at all nodes shows to several passes; it stays true while they rewrite the kernel.
public struct KernelFacts: Sendable {
  /// Values that a `wgmma` takes as A registers. They rest while it is in flight, so no pass gives
  /// them a second use or another home.
  let resting: ValueSet

  /// - Parameter target: the GPU that the kernel must verify for: older ones than sm_90a refuse
  ///   `wgmma`, and nothing needs to be looked for.
  public init(_ kernel: KernelIR, target: Target = .sm90a) {
    resting = target < .sm90a ? ValueSet() : kernel.wgmmaRegisterOperands
  }
}

extension Pass {
  /// Rewrites the kernel in its place.
  public static func apply(to kernel: inout KernelIR) {
    apply(to: &kernel, knowing: KernelFacts(kernel))
  }

  /// The rewritten kernel.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var result = kernel
    apply(to: &result)
    return result
  }
}

extension KernelIR {
  /// The passes every back end wants, in order: folding exposes equal expressions, merging them
  /// exposes address sums, and what they leave unused is dropped last.
  public static let standardPasses: [any Pass.Type] = [
    ConstantFolding.self, CommonSubexpressions.self, AddressOffsets.self, DeadCode.self,
  ]

  /// The kernel after `standardPasses`.
  public func optimised() -> KernelIR {
    var result = self
    let facts = KernelFacts(result)
    for pass in Self.standardPasses { pass.apply(to: &result, knowing: facts) }
    return result
  }
}

/// Values replaced by other operands, resolved to the end of each chain.
struct Substitution {
  /// By value.
  private var replacements: [Operand?]
  private var isEmpty = true

  /// Nothing replaced yet.
  init(for kernel: KernelIR) {
    replacements = Array(repeating: nil, count: kernel.values.count)
  }

  subscript(operand: Operand) -> Operand {
    guard let id = operand.valueID else { return operand }
    return replacements[id.index] ?? operand
  }

  private func isReplaced(_ operand: Operand) -> Bool {
    guard let id = operand.valueID else { return false }
    return replacements[id.index] != nil
  }

  /// Replaces `value` by an operand that is a constant or an immutable value.
  mutating func replace(_ value: ValueID, by operand: Operand) {
    replacements[value.index] = self[operand]
    isEmpty = false
  }

  func apply(to node: inout Node) {
    guard !isEmpty, node.operands.contains(where: isReplaced) else { return }
    var operands = node.operands
    for index in operands.indices { operands[index] = self[operands[index]] }
    node.operands = operands
  }
}

extension [ValueInfo] {
  /// Whether an operand keeps its content: a constant or an immutable value.
  func isImmutable(_ operand: Operand) -> Bool {
    operand.valueID.map { self[$0.index].kind == .immutable } ?? true
  }

  /// Type of an operand.
  func type(of operand: Operand) -> ValueType {
    switch operand {
    case .value(let id): self[id.index].type
    case .constant(let constant): constant.type
    }
  }
}

extension KernelIR {
  /// Values that a `wgmma` takes as A registers.
  fileprivate var wgmmaRegisterOperands: ValueSet {
    var registers = ValueSet()
    body.forEachNode { node, _ in
      guard case .tensorCore(.wgmma(let shape)) = node.op, shape.aInRegisters else { return }
      for operand in node.operands.dropFirst(shape.accumulatorCount).prefix(shape.aCount) {
        if let id = operand.valueID { registers.insert(id) }
      }
    }
    return registers
  }
}
