import ApusIR

/// A kernel with its regions laid out in one line: the form warps execute.
///
/// Registers are 32 lanes of 4 bytes (8 for 64-bit types) in one block per warp; constants have
/// registers of their own, so an operand is a byte offset and nothing else.
struct Program: Sendable {
  enum Code: Sendable {
    case op
    case ifBegin, thenEnd, ifEnd
    case loopBegin, loopEnd
    case rolesBegin([(range: Range<Int>, start: Int, registers: Int?)])
    case roleEnd
    case halt
  }

  struct Slot: Sendable {
    var offset: Int
    /// Index in the kernel's table, −1 for a constant.
    var value: Int
    var type: ValueType
  }

  struct Instruction: Sendable {
    var op: Op
    var code: Code
    var inputs: [Slot]
    var outputs: [Slot]
    var location: SourceLocation
    var phase: String
    /// `ifBegin`: the `thenEnd`; `thenEnd`: the `ifEnd`; loops and roles: their end.
    var target = 0
    var hasElse = false
  }

  private(set) var instructions: [Instruction] = []
  private(set) var registerByteCount = 0
  let valueCount: Int
  private(set) var constants: [(slot: Slot, bits: UInt64)] = []
  private var slots: [Slot] = []
  private var constantSlots: [Constant: Slot] = [:]
  private var phase = ""
  /// Whether the kernel has warpgroup products.
  private(set) var hasProducts = false

  init(_ kernel: KernelIR) {
    valueCount = kernel.values.count
    for (index, info) in kernel.values.enumerated() { slots.append(allocate(info.type, index)) }
    lower(kernel.body)
    append(.control(.exit), .halt, at: SourceLocation(fileID: "end", line: 0))
  }

  private mutating func allocate(_ type: ValueType, _ value: Int) -> Slot {
    let slot = Slot(offset: registerByteCount, value: value, type: type)
    registerByteCount += warpSize * (type.bitWidth == 64 ? 8 : 4)
    return slot
  }

  private mutating func slot(_ operand: Operand) -> Slot {
    switch operand {
    case .value(let id): return slots[id.index]
    case .constant(let constant):
      if let slot = constantSlots[constant] { return slot }
      let slot = allocate(constant.type, -1)
      constantSlots[constant] = slot
      constants.append((slot, constant.bits))
      return slot
    }
  }

  private mutating func append(
    _ op: Op, _ code: Code, inputs: [Slot] = [], outputs: [Slot] = [], at location: SourceLocation
  ) {
    instructions.append(
      Instruction(
        op: op, code: code, inputs: inputs, outputs: outputs, location: location, phase: phase))
  }

  private mutating func lower(_ region: Region) {
    for node in region.nodes { lower(node) }
  }

  private mutating func lower(_ node: Node) {
    let inputs = node.operands.map { slot($0) }
    let start = instructions.count
    switch node.op {
    case .control(.comment): return
    case .tensorCore(.wgmma):
      hasProducts = true
      append(
        node.op, .op, inputs: inputs, outputs: node.results.map { slots[$0.index] },
        at: node.location)
    case .control(.phase(let name)): phase = name
    case .control(.if):
      append(node.op, .ifBegin, inputs: inputs, at: node.location)
      lower(node.regions[0])
      let thenEnd = instructions.count
      append(node.op, .thenEnd, at: node.location)
      if node.regions.count > 1 { lower(node.regions[1]) }
      let end = instructions.count
      append(node.op, .ifEnd, at: node.location)
      instructions[start].target = thenEnd
      instructions[start].hasElse = node.regions.count > 1
      instructions[thenEnd].target = end
    case .control(.loop):
      append(node.op, .loopBegin, at: node.location)
      lower(node.regions[0])
      instructions[start].target = instructions.count
      append(node.op, .loopEnd, at: node.location)
    case .control(.roles(let roles)):
      append(node.op, .rolesBegin([]), inputs: inputs, at: node.location)
      var table: [(range: Range<Int>, start: Int, registers: Int?)] = []
      var ends: [Int] = []
      for (role, region) in zip(roles, node.regions) {
        table.append((role.warps, instructions.count, role.registers))
        lower(region)
        ends.append(instructions.count)
        append(node.op, .roleEnd, at: node.location)
      }
      for end in ends { instructions[end].target = instructions.count }
      instructions[start].target = instructions.count
      instructions[start].code = .rolesBegin(table)
    default:
      append(
        node.op, .op, inputs: inputs, outputs: node.results.map { slots[$0.index] },
        at: node.location)
    }
  }
}
