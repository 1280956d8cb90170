import ApusIR

/// A kernel with its regions laid out in one line, and what reports say about each instruction.
struct Program: Sendable {
  struct Slot: Sendable {
    var offset: Int
    /// Index in the kernel's table, −1 for a constant.
    var value: Int
    var type: ValueType
  }

  struct Instruction: Sendable {
    var op: Op
    var action: Code.Action
    var inputs: [Slot]
    var outputs: [Slot]
    var location: SourceLocation
    var phase: String
    var target = 0
    var hasElse = false
  }

  private(set) var instructions: [Instruction] = []
  private(set) var tables: [[Code.RoleStart]] = []
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
    _ op: Op, _ action: Code.Action, inputs: [Slot] = [], outputs: [Slot] = [],
    at location: SourceLocation
  ) {
    instructions.append(
      Instruction(
        op: op, action: action, inputs: inputs, outputs: outputs, location: location, phase: phase))
  }

  private mutating func lower(_ region: Region) {
    for node in region.nodes { lower(node) }
  }

  private mutating func lower(_ node: Node) {
    let inputs = node.operands.map { slot($0) }
    let start = instructions.count
    func plain(_ action: Code.Action) {
      append(
        node.op, action, inputs: inputs, outputs: node.results.map { slots[$0.index] },
        at: node.location)
    }
    switch node.op {
    case .movement(let op): plain(.movement(op))
    case .arithmetic(let op): plain(.arithmetic(op))
    case .bits(let op): plain(.bits(op))
    case .conversion(let op): plain(.conversion(op))
    case .special(let op): plain(.special(op))
    case .memory(let op): plain(.memory(op))
    case .warp(let op): plain(.warp(op))
    case .synchronisation(let op): plain(.synchronisation(op))
    case .copy(let op): plain(.copy(op))
    case .tensorCore(let op):
      if case .wgmma = op { hasProducts = true }
      plain(.tensorCore(op))
    case .control(.comment): return
    case .control(.phase(let name)): phase = name
    case .control(.breakIf): plain(.breakIf)
    case .control(.continueIf): plain(.continueIf)
    case .control(.exit): plain(.exit)
    case .control(.trap): plain(.trap)
    case .control(.sleep): plain(.sleep)
    case .control(.setMaxRegisters(let change, let count)):
      plain(.setMaxRegisters(change, count: count))
    case .control(.if(let form)):
      append(node.op, .ifBegin(isUniform: form == .uniform), inputs: inputs, at: node.location)
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
      append(node.op, .rolesBegin(table: tables.count), inputs: inputs, at: node.location)
      tables.append([])
      var table: [Code.RoleStart] = []
      var ends: [Int] = []
      for (role, region) in zip(roles, node.regions) {
        table.append(
          Code.RoleStart(
            range: role.warps, start: instructions.count, registers: role.registers))
        lower(region)
        ends.append(instructions.count)
        append(node.op, .roleEnd, at: node.location)
      }
      for end in ends { instructions[end].target = instructions.count }
      instructions[start].target = instructions.count
      tables[tables.count - 1] = table
    }
  }
}
