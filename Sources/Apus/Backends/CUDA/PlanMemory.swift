internal import ApusCUDA
internal import ApusThreads

/// Device memory of plans, which may go while their work is still in flight.
///
/// Plans come and go with every step of a server, and asking the driver for memory costs more than
/// the rest of planning; giving it back waits for the device. So plans get parts of chunks, and giving
/// a part back only counts. A chunk whose parts have all gone is used again, or returned to the
/// driver, after the context was waited for: a kernel of a plan that is gone may still read it. That
/// happens once for each chunk that was filled, not for each plan.
///
/// Memory is bounded by what living plans hold, one chunk, and `idleLimit`.
final class PlanMemory: Sendable {
  /// Bytes of a chunk that plans share.
  private let chunkByteCount: Int
  /// Bytes in chunks without parts that are kept until the next wait.
  static let idleLimit = 256 << 20
  private static let alignment = 256

  fileprivate final class Chunk: Sendable {
    let buffer: DeviceBuffer

    init(byteCount: Int, in context: Context) throws(CUDAError) {
      buffer = try DeviceBuffer(byteCount: byteCount, in: context)
    }
  }

  private struct Usage {
    let chunk: Chunk
    var used = 0
    var parts = 0
  }

  private struct State {
    /// Chunks by address; the current one among them.
    var chunks: [UInt64: Usage] = [:]
    var current: UInt64?
  }

  private let context: Context
  private let state = Lock(State())

  /// Nothing allocated yet.
  ///
  /// - Parameter chunkByteCount: parts of more than half of it get a chunk of their own.
  init(_ context: Context, chunkByteCount: Int) {
    self.context = context
    self.chunkByteCount = chunkByteCount
  }

  deinit {
    // No part is left, but work may be.
    if state.withLock({ $0.chunks.isEmpty }) { return }
    _ = waitForContext()
  }

  /// Memory for a plan, aligned to 256 bytes, without content. May wait for the context.
  func allocate(byteCount: Int) throws(CUDAError) -> CUDAAllocation {
    if byteCount == 0 { return CUDAAllocation(address: 0, byteCount: 0, of: nil, chunk: 0) }
    let rounded = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    return try state.withLock { (state) throws(CUDAError) in
      if rounded <= chunkByteCount / 2, let current = state.current,
        let usage = state.chunks[current], usage.used + rounded <= chunkByteCount
      {
        return part(current, rounded, byteCount, &state)
      }
      let chunk = try newChunk(rounded, &state)
      return part(chunk, rounded, byteCount, &state)
    }
  }

  private func part(
    _ chunk: UInt64, _ rounded: Int, _ byteCount: Int, _ state: inout State
  ) -> CUDAAllocation {
    let offset = state.chunks[chunk]?.used ?? 0
    state.chunks[chunk]?.used += rounded
    state.chunks[chunk]?.parts += 1
    return CUDAAllocation(
      address: chunk + UInt64(offset), byteCount: byteCount, of: self, chunk: chunk)
  }

  /// A chunk for a part that has no room: one without parts, or a new one.
  private func newChunk(_ rounded: Int, _ state: inout State) throws(CUDAError) -> UInt64 {
    let isShared = rounded <= chunkByteCount / 2
    let size = isShared ? chunkByteCount : rounded
    // Sizes, not chunks: those that are dropped below must go.
    let idle = state.chunks.filter { $0.value.parts == 0 }.mapValues { $0.chunk.buffer.byteCount }
    let idleBytes = idle.values.reduce(0, +)
    let fitting = idle.first { $0.value == size }?.key
    if fitting != nil || idleBytes > Self.idleLimit, waitForContext() {
      // Everything without parts is free now: one is used, the others go.
      for address in idle.keys where address != fitting { state.chunks[address] = nil }
      if let fitting {
        state.chunks[fitting]?.used = 0
        if isShared { state.current = fitting }
        return fitting
      }
    }
    let context = context
    let chunk: Chunk
    do throws(CUDAError) {
      chunk = try context.relaxingCaptures("PlanMemory") { () throws(CUDAError) in
        try Chunk(byteCount: size, in: context)
      }
    } catch {
      // What gone plans held may be what is missing.
      guard !idle.isEmpty, waitForContext() else { throw error }
      for address in idle.keys { state.chunks[address] = nil }
      chunk = try context.relaxingCaptures("PlanMemory") { () throws(CUDAError) in
        try Chunk(byteCount: size, in: context)
      }
    }
    let address = chunk.buffer.address
    state.chunks[address] = Usage(chunk: chunk)
    if isShared { state.current = address }
    return address
  }

  /// Waits for all work of the context; false where that cannot be done now, as during a capture.
  private func waitForContext() -> Bool {
    let context = context
    do throws(CUDAError) {
      try context.relaxingCaptures("PlanMemory") { () throws(CUDAError) in
        try context.synchronize()
      }
      return true
    } catch {
      return false
    }
  }

  fileprivate func release(_ chunk: UInt64) {
    state.withLock { $0.chunks[chunk]?.parts -= 1 }
  }
}

/// Device memory of a plan; its end calls no driver.
final class CUDAAllocation: DeviceAllocation {
  let address: UInt64
  let byteCount: Int
  private let memory: PlanMemory?
  private let chunk: UInt64

  fileprivate init(address: UInt64, byteCount: Int, of memory: PlanMemory?, chunk: UInt64) {
    self.address = address
    self.byteCount = byteCount
    self.memory = memory
    self.chunk = chunk
  }

  deinit { memory?.release(chunk) }
}
