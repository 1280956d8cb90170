internal import ApusCore
internal import ApusThreads

/// Zeroed counters for the runs of one plan: a set for each workspace, or for each set of tensors where
/// there is no workspace, so that such runs may overlap. Every run leaves its set as it found it: the
/// last block sets what it counted back to 0.
final class RunCounters: Sendable {
  private struct State {
    /// Where the sets of each block begin, and what holds them.
    var blocks: [(address: UInt64, memory: any DeviceAllocation)]
    /// Set numbers by address of the workspace.
    var numbers: [UInt64: Int] = [:]
    var taken = 0
  }

  /// Sets that are allocated at once.
  private static let setsPerBlock = 8
  /// Sets of a plan at most; beyond them, the first ones are used again.
  private static let setLimit = 1024

  private let runtime: any DeviceRuntime
  private let byteCount: Int
  private let stride: Int
  private let state: Lock<State>

  /// Bytes of zeros that the sets which most plans need take.
  static func firstByteCount(_ byteCount: Int) -> Int { setsPerBlock * stride(byteCount) }

  private static func stride(_ byteCount: Int) -> Int { (byteCount + 127) & ~127 }

  /// Counters that begin with the sets at an offset of zeroed memory.
  init(
    byteCount: Int, on runtime: any DeviceRuntime, in memory: any DeviceAllocation, at offset: Int
  ) {
    self.runtime = runtime
    self.byteCount = byteCount
    stride = Self.stride(byteCount)
    state = Lock(State(blocks: [(memory.address + UInt64(offset), memory)]))
  }

  private func grow(_ state: inout State, _ operation: String) throws(ApusError) {
    let memory = try runtime.upload([], zeroCount: Self.setsPerBlock * stride, operation: operation)
    state.blocks.append((memory.address, memory))
  }

  /// The set of a workspace; each call without a workspace takes the next one.
  func set(workspace: UInt64?, operation: String) throws(ApusError) -> OperandSpan {
    try state.withLock { (state) throws(ApusError) in
      let number: Int
      if let workspace, let known = state.numbers[workspace] {
        number = known
      } else {
        number = state.taken % Self.setLimit
        state.taken += 1
        if let workspace { state.numbers[workspace] = number }
      }
      if number / Self.setsPerBlock >= state.blocks.count { try grow(&state, operation) }
      let block = state.blocks[number / Self.setsPerBlock].address
      return OperandSpan(
        name: "counters",
        address: block + UInt64(number % Self.setsPerBlock * stride),
        byteCount: byteCount, isWritable: true)
    }
  }
}
