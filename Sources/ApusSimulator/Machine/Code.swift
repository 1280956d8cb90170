import ApusIR

/// A program as warps execute it: flat memory without reference counts.
///
/// Registers are 32 lanes of 4 bytes (8 for 64-bit types) in one block per warp; constants have
/// registers of their own, so an operand is a byte offset and nothing else.
final class Code {
  /// What an instruction does; only trivial payloads, which cost nothing to copy.
  enum Action {
    case movement(Op.Movement)
    case arithmetic(Op.Arithmetic)
    case bits(Op.Bits)
    case conversion(Op.Conversion)
    case special(Op.SpecialRegister)
    case memory(Op.Memory)
    case warp(Op.Warp)
    case synchronisation(Op.Synchronisation)
    case copy(Op.Copy)
    case tensorCore(Op.TensorCore)
    case breakIf, continueIf, exit, trap, sleep
    case setMaxRegisters(Op.RegisterChange, count: Int)
    case ifBegin(isUniform: Bool), thenEnd, ifEnd
    case loopBegin, loopEnd
    case rolesBegin(table: Int), roleEnd
    case halt
  }

  /// A register of every lane.
  struct Slot {
    var offset: Int
    /// Index of the flags that say which lanes are defined: the value's, or one that always are.
    var value: Int
    var type: ValueType
    var is64: Bool
    var is16: Bool
    var isConstant: Bool
  }

  typealias Slots = UnsafeBufferPointer<Slot>

  struct Instruction {
    var action: Action
    var inputs: Slots
    var outputs: Slots
    /// `ifBegin`: the `thenEnd`; `thenEnd`: the `ifEnd`; loops and roles: their end.
    var target: Int
    var hasElse: Bool
    /// Whether operands and results are checked against products in flight.
    var isLockable: Bool
  }

  struct RoleStart {
    var range: Range<Int>
    var start: Int
    var registers: Int?
  }

  let instructions: UnsafeMutableBufferPointer<Instruction>
  let tables: [[RoleStart]]
  private let slots: UnsafeMutableBufferPointer<Slot>

  init(_ program: Program) {
    let count = program.instructions.reduce(0) { $0 + $1.inputs.count + $1.outputs.count }
    slots = .allocate(capacity: count)
    instructions = .allocate(capacity: program.instructions.count)
    tables = program.tables
    var next = 0
    for (index, source) in program.instructions.enumerated() {
      func take(_ operands: [Program.Slot]) -> Slots {
        let first = next
        for operand in operands {
          let width = operand.type.bitWidth
          slots.initializeElement(
            at: next,
            to: Slot(
              offset: operand.offset, value: operand.value < 0 ? program.valueCount : operand.value,
              type: operand.type, is64: width == 64, is16: width == 16,
              isConstant: operand.value < 0))
          next += 1
        }
        return Slots(rebasing: UnsafeBufferPointer(slots)[first..<next])
      }
      let isProduct = if case .tensorCore(.wgmma) = source.action { true } else { false }
      let inputs = take(source.inputs)
      instructions.initializeElement(
        at: index,
        to: Instruction(
          action: source.action, inputs: inputs, outputs: take(source.outputs),
          target: source.target, hasElse: source.hasElse,
          isLockable: program.hasProducts && !isProduct))
    }
  }

  deinit {
    slots.deallocate()
    instructions.deallocate()
  }
}
