public import ApusIR

/// One violation of the language's rules, found while a kernel ran.
public struct SimulationError: Error, Sendable, Hashable {
  /// What was violated.
  public enum Kind: Sendable, Hashable {
    /// The simulator does not execute this op yet.
    case unsupported(Op)
    /// The launch does not fit the kernel.
    case invalidLaunch(String)
    /// An access outside every buffer, or outside the block's shared window.
    case outOfBounds(Op.MemorySpace, address: UInt64, byteCount: Int)
    /// A write to a buffer bound as read-only.
    case readOnly(address: UInt64, buffer: String)
    /// An address that is not a multiple of the access's alignment.
    case misaligned(Op.MemorySpace, address: UInt64, alignment: Int)
    /// A read of a byte nothing wrote.
    case uninitialisedRead(Op.MemorySpace, address: UInt64)
    /// A read of a register nothing wrote in some active lane.
    case undefinedRegister(String)
    /// Two accesses to a byte, one a write, that nothing orders; lanes of one warp included.
    case race(address: UInt64, otherWarp: Int?, otherLocation: SourceLocation)
    /// A collective op whose lanes are not those that execute it.
    case divergent(members: UInt32)
    /// A uniform operand that differs between lanes.
    case notUniform
    /// Memory or a register that an asynchronous op still uses: a wait is missing.
    case missingWait(String)
    /// Bytes that one proxy wrote and the other reads without a proxy fence.
    case missingProxyFence(address: UInt64)
    /// A misuse of a barrier, with what is wrong.
    case barrier(String)
    /// An operand outside its documented range, with what is wrong.
    case invalidOperand(String)
    /// No warp can continue; one entry for each waiting warp.
    case deadlock([WaitingWarp])
    /// More warp instructions than `SimulationOptions.instructionLimit`.
    case instructionLimit(Int)
    /// The kernel executed `trap`.
    case trap
  }

  /// A warp of a deadlock.
  public struct WaitingWarp: Sendable, Hashable {
    /// Linear block index.
    public var block: Int
    /// Warp index within the block.
    public var warp: Int
    /// The op it waits in.
    public var operation: String
    /// The Swift line of that op.
    public var location: SourceLocation
  }

  /// What was violated.
  public var kind: Kind
  /// Mnemonic of the op.
  public var operation: String
  /// Linear block index.
  public var block: Int
  /// Warp index within the block.
  public var warp: Int
  /// The lanes at fault.
  public var lanes: UInt32
  /// The Swift line that emitted the op.
  public var location: SourceLocation
  /// The kernel's phase, empty before the first.
  public var phase: String
}

extension SimulationError: CustomStringConvertible {
  /// `st: global address 0x10 is outside every buffer; … (block 0, warp 1, lanes 0x1, K.swift:3)`.
  public var description: String {
    let place =
      "block \(block), warp \(warp), lanes 0x\(String(lanes, radix: 16)), \(location)"
      + (phase.isEmpty ? "" : ", phase \(phase)")
    return "\(operation): \(kind) (\(place))"
  }
}

extension SimulationError.Kind: CustomStringConvertible {
  /// Requirement; what was found; remedy.
  public var description: String {
    func hex(_ address: UInt64) -> String { "0x" + String(address, radix: 16) }
    switch self {
    case .unsupported(let op): return "the simulator must know the op; found \(op.mnemonic)"
    case .invalidLaunch(let text), .barrier(let text), .invalidOperand(let text): return text
    case .outOfBounds(let space, let address, let count):
      return "\(space) accesses must lie in bound memory; found \(count) bytes at \(hex(address))"
    case .readOnly(let address, let buffer):
      return "buffer \(buffer) is read-only; found a write at \(hex(address))"
    case .misaligned(let space, let address, let alignment):
      return "\(space) address must be a multiple of \(alignment); found \(hex(address))"
    case .uninitialisedRead(let space, let address):
      return "\(space) bytes must be written before they are read; found \(hex(address)) unwritten"
    case .undefinedRegister(let name): return "register \(name) must be written before it is read"
    case .race(let address, let warp, let location):
      let other = warp.map { "warp \($0)" } ?? "an asynchronous copy"
      return "a barrier or syncWarp must order accesses to a byte; found \(hex(address)) used by "
        + "\(other) at \(location)"
    case .divergent(let members):
      return "exactly the lanes \(hex(UInt64(members))) must execute this together"
    case .notUniform: return "the operand must be the same in all lanes"
    case .missingWait(let what): return "\(what) is in use by an asynchronous op. Wait for it first"
    case .missingProxyFence(let address):
      return "writes must be fenced with fence.proxy.async before asynchronous use; found "
        + "\(hex(address)) unfenced"
    case .deadlock(let warps):
      return "some warp must be able to continue; found\n"
        + warps.map { "  block \($0.block) warp \($0.warp): \($0.operation) at \($0.location)" }
        .joined(separator: "\n")
    case .instructionLimit(let limit):
      return "a launch must finish within \(limit) warp instructions. Raise instructionLimit"
    case .trap: return "the kernel trapped"
    }
  }
}
