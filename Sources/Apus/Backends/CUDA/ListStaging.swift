internal import ApusCUDA
internal import ApusThreads

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Pinned memory in which the lists of plans are written, on their way to the device.
///
/// A few blocks, used in turn. Each has an event behind the copies that read it; a block is written
/// again once that event is complete, which is asked for and not waited for unless all blocks are in
/// flight. Blocks grow to what plans reserve: an update allocates nothing.
final class ListStaging: Sendable {
  /// Blocks at most: updates that may be in flight before the next one waits.
  static let blockCount = 4

  private final class Block: Sendable {
    let memory: PinnedBuffer
    /// Behind the last copies that read the block.
    let event: Event

    var byteCount: Int { memory.bytes.count }

    init(byteCount: Int, _ context: Context) throws(CUDAError) {
      memory = try PinnedBuffer(byteCount: byteCount, in: context)
      event = try Event(in: context, timing: false)
    }
  }

  private struct State {
    /// Blocks in the order of their last use, the oldest first.
    var free: [Block] = []
    /// Blocks that there are.
    var count = 0
  }

  private let context: Context
  private let state = Lock(State())
  /// Bytes that every block holds; held while blocks are made for more.
  private let reserved = Lock(0)

  init(_ context: Context) { self.context = context }

  /// Makes all blocks, and makes sure that each holds `byteCount` bytes.
  ///
  /// One thread at a time takes several blocks: two that each had some of them would wait for the
  /// others' forever.
  func reserve(byteCount: Int) throws(CUDAError) {
    try reserved.withLock { (reserved) throws(CUDAError) in
      if byteCount <= reserved { return }
      var taken: [Block] = []
      defer { taken.forEach(giveBack) }
      while taken.count < Self.blockCount { taken.append(try take(byteCount)) }
      reserved = byteCount
    }
  }

  /// Has `write` fill a block, and enqueues the copies of ranges of it to the same places behind an
  /// address.
  func send(
    _ ranges: [Range<Int>], of byteCount: Int, to address: UInt64, on stream: Stream,
    write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(CUDAError) {
    let block = try take(byteCount)
    // Given back behind whatever was enqueued, also when a copy fails.
    defer { giveBack(block) }
    let memory = UnsafeMutableRawBufferPointer(rebasing: block.memory.bytes[..<byteCount])
    write(memory)
    var failure: CUDAError?
    do throws(CUDAError) {
      for range in ranges where !range.isEmpty {
        try stream.copy(
          from: UnsafeRawBufferPointer(rebasing: memory[range]),
          to: DeviceView(address: address + UInt64(range.lowerBound), byteCount: range.count))
      }
    } catch {
      failure = error
    }
    do throws(CUDAError) {
      try block.event.record(on: stream)
    } catch {
      // Without the event, only waiting tells that no copy reads the block any more.
      try? stream.synchronize()
      throw failure ?? error
    }
    if let failure { throw failure }
  }

  /// What `choose` found.
  private enum Choice {
    /// A block that is large enough, perhaps still in flight.
    case known(Block)
    /// One that is too small, in whose place a larger one comes; nil while there are few.
    case new(insteadOf: Block?)
    /// Other threads have all of them.
    case none
  }

  /// A block that holds `byteCount` bytes and that no copy reads any more.
  private func take(_ byteCount: Int) throws(CUDAError) -> Block {
    let context = context
    // Events may not be asked while another thread captures in global mode, nor memory be allocated.
    return try context.relaxingCaptures("ListStaging.take") { () throws(CUDAError) -> Block in
      while true {
        switch choose(byteCount) {
        case .none:
          // More threads than blocks are between `take` and `giveBack`, a matter of microseconds, or a
          // plan makes larger blocks.
          sched_yield()
        case .known(let block):
          do throws(CUDAError) {
            if try !block.event.isComplete() { try block.event.synchronize() }
            return block
          } catch {
            giveBack(block)
            throw error
          }
        case .new(let outgrown):
          do throws(CUDAError) {
            // The copies that read it end before it goes.
            if let outgrown { try outgrown.event.synchronize() }
            var size = 64 << 10
            while size < byteCount { size *= 2 }
            return try Block(byteCount: size, context)
          } catch {
            if let outgrown { giveBack(outgrown) } else { state.withLock { $0.count -= 1 } }
            throw error
          }
        }
      }
    }
  }

  /// The oldest block that is large enough and idle; a new one while there are few; the oldest one.
  private func choose(_ byteCount: Int) -> Choice {
    state.withLock { state in
      let fitting = state.free.indices.filter { state.free[$0].byteCount >= byteCount }
      if let idle = fitting.first(where: { (try? state.free[$0].event.isComplete()) ?? false }) {
        return .known(state.free.remove(at: idle))
      }
      if state.count < Self.blockCount {
        state.count += 1
        return .new(insteadOf: nil)
      }
      if let oldest = fitting.first { return .known(state.free.remove(at: oldest)) }
      return state.free.isEmpty ? .none : .new(insteadOf: state.free.removeFirst())
    }
  }

  private func giveBack(_ block: Block) { state.withLock { $0.free.append(block) } }
}
