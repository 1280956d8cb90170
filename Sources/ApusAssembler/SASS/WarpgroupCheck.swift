/// What the machine code does while warpgroup products are in flight.
///
/// A product (`HGMMA`, `QGMMA`) runs on after it was issued: it reads its A registers and updates its
/// accumulators until a `WARPGROUP.DEPBAR` says that its group is done. The check follows every path
/// through the code with the groups in flight, newest first, and reports
/// - an instruction that mentions an accumulator of a product in flight, unless it is a product with
///   the same accumulators, which the hardware orders;
/// - an instruction, products included, that writes an A register of a product in flight.
///
/// Where paths meet, groups of equal age are united, so every real path is covered; a finding may
/// come of a path that never runs.
public struct WarpgroupCheck: Sendable, Hashable {
  /// A misuse of a register.
  public struct Finding: Sendable, Hashable, CustomStringConvertible {
    /// The instruction.
    public let instruction: SASSInstruction
    /// Addresses of the products that still use the register.
    public let products: [Int]
    /// The lowest register concerned.
    public let register: Int
    /// Whether the register is an operand, rather than an accumulator.
    public let isOperand: Bool

    /// `0a30: FADD R24, … : R24 is an accumulator of the products at 09d0, in flight`.
    public var description: String {
      let kind = isOperand ? "an operand" : "an accumulator"
      let places = products.map(hex).joined(separator: ", ")
      return
        "\(hex(instruction.address)): \(instruction.text): R\(register) must not be used while "
        + "it is \(kind) of the products at \(places), which are in flight"
    }
  }

  /// Misuses in the order of addresses.
  public let findings: [Finding]
  /// Product instructions.
  public let productCount: Int
  /// Groups, by the products that close one.
  public let groupCount: Int
  /// Waits.
  public let waitCount: Int
  /// Whether products may be in flight at each instruction, before it runs.
  public let isInFlight: [Bool]

  /// Checks a function.
  public init(_ function: SASSFunction) {
    let instructions = function.instructions
    let successors = function.successors
    var states = [State?](repeating: nil, count: instructions.count)
    if !instructions.isEmpty { states[0] = State() }
    var pending = instructions.isEmpty ? [] : [0]
    while let index = pending.popLast() {
      guard let state = states[index] else { continue }
      let after = state.after(index, instructions[index])
      for next in successors[index] {
        let joined = states[next].map { $0.union(after) } ?? after
        if joined != states[next] {
          states[next] = joined
          pending.append(next)
        }
      }
    }
    var findings: [Finding] = []
    for (index, instruction) in instructions.enumerated() {
      findings += states[index]?.findings(of: instruction, among: instructions) ?? []
    }
    self.findings = findings
    productCount = instructions.count { $0.isProduct }
    groupCount = instructions.count { $0.isProduct && $0.closesGroup }
    waitCount = instructions.count { $0.allowedGroups != nil }
    isInFlight = states.map { $0?.isInFlight ?? false }
  }

  /// Groups in flight at one place, as indices of their products.
  private struct State: Hashable {
    /// More groups than this are counted as one, the oldest.
    static let longest = 16

    /// Products since the last that closed a group.
    var open: Set<Int> = []
    /// Closed groups, the newest first.
    var groups: [Set<Int>] = []

    var isInFlight: Bool { !open.isEmpty || groups.contains { !$0.isEmpty } }

    func after(_ index: Int, _ instruction: SASSInstruction) -> State {
      var state = self
      if instruction.isProduct {
        state.open.insert(index)
        if instruction.closesGroup {
          state.groups.insert(state.open, at: 0)
          state.open = []
        }
      } else if let allowed = instruction.allowedGroups {
        // The wait covers groups; products whose group is open stay in flight.
        state.groups = Array(state.groups.prefix(allowed))
      }
      if state.groups.count > Self.longest {
        let oldest = state.groups[(Self.longest - 1)...].reduce(Set()) { $0.union($1) }
        state.groups = Array(state.groups.prefix(Self.longest - 1)) + [oldest]
      }
      return state
    }

    func union(_ other: State) -> State {
      let count = max(groups.count, other.groups.count)
      func group(_ state: State, _ index: Int) -> Set<Int> {
        index < state.groups.count ? state.groups[index] : []
      }
      return State(
        open: open.union(other.open),
        groups: (0..<count).map { group(self, $0).union(group(other, $0)) })
    }

    func findings(
      of instruction: SASSInstruction, among instructions: [SASSInstruction]
    ) -> [Finding] {
      guard isInFlight else { return [] }
      let inFlight = groups.reduce(open) { $0.union($1) }.sorted()
      let mentioned = instruction.mentionedRegisters
      let written = instruction.writtenRegisters
      guard !mentioned.isEmpty else { return [] }
      var accumulators: [Int: [Int]] = [:]
      var operands: [Int: [Int]] = [:]
      for index in inFlight {
        let product = instructions[index]
        let isSame = instruction.isProduct && instruction.accumulators == product.accumulators
        let used = isSame ? Set(instruction.productOperands) : mentioned
        if let register = used.intersection(product.accumulators).min() {
          accumulators[register, default: []].append(product.address)
        }
        if let register = written.intersection(product.productOperands).min() {
          operands[register, default: []].append(product.address)
        }
      }
      func list(_ found: [Int: [Int]], isOperand: Bool) -> [Finding] {
        found.sorted { $0.key < $1.key }.map {
          Finding(
            instruction: instruction, products: $0.value, register: $0.key, isOperand: isOperand)
        }
      }
      return list(accumulators, isOperand: false) + list(operands, isOperand: true)
    }
  }
}

/// An address as disassemblies print it.
func hex(_ address: Int) -> String {
  let digits = String(address, radix: 16)
  return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
