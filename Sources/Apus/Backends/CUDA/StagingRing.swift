internal import ApusCUDA
internal import ApusThreads

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Carries the host lists of plan-free operators (append, RoPE, bit packing) to the device in the
/// order of the caller's stream.
///
/// A ring of slots, each pinned host memory, device memory and an event that is recorded behind the
/// launches that read the slot. Taking a slot makes the stream wait for that event, so device memory
/// is never overwritten early, whatever streams use it; the host side of a slot is free once the
/// event is complete, which is asked for and not waited for, unless all slots are in flight: that
/// back-pressure comes after `slotCount` unfinished calls.
///
/// A call under stream capture takes a slot of its own kind and keeps it for good, because every
/// replay of the graph copies from it. Lists beyond a slot take a stream-ordered buffer and pass
/// through several slots.
final class StagingRing: Sendable {
  /// Slots of the ring.
  static let slotCount = 32
  /// Slots for captures.
  static let captureCount = 16
  /// Bytes of a slot: 8192 indices of 64 bits.
  static let slotByteCount = 64 << 10

  /// The memory of all slots.
  fileprivate final class Pool: Sendable {
    let host: PinnedBuffer
    let device: DeviceBuffer

    init(_ context: Context) throws(CUDAError) {
      let byteCount =
        (StagingRing.slotCount + StagingRing.captureCount) * StagingRing.slotByteCount
      host = try PinnedBuffer(byteCount: byteCount, in: context)
      device = try DeviceBuffer(byteCount: byteCount, in: context)
    }
  }

  fileprivate final class Slot: Sendable {
    private let pool: Pool
    private let offset: Int
    /// Behind the last launches that read the slot.
    let event: Event

    /// First byte on the device.
    var address: UInt64 { pool.device.address + UInt64(offset) }
    private var host: UnsafeMutableRawBufferPointer {
      UnsafeMutableRawBufferPointer(
        rebasing: pool.host.bytes[offset..<offset + StagingRing.slotByteCount])
    }

    fileprivate init(_ pool: Pool, _ index: Int, _ context: Context) throws(CUDAError) {
      self.pool = pool
      offset = index * StagingRing.slotByteCount
      event = try Event(in: context, timing: false)
    }

    /// Enqueues the copy of at most `slotByteCount` bytes.
    func send(
      _ bytes: ArraySlice<UInt8>, to address: UInt64, on stream: Stream
    ) throws(CUDAError) {
      bytes.withUnsafeBytes { host.copyMemory(from: $0) }
      try stream.copy(
        from: UnsafeRawBufferPointer(rebasing: host[..<bytes.count]),
        to: DeviceView(address: address, byteCount: bytes.count))
    }
  }

  private struct State {
    /// Slots in the order of their last use, the oldest first.
    var free: [Slot] = []
    /// Slots that no capture has taken yet.
    var reserved: [Slot] = []
    /// Slots of captured graphs.
    var captured: [Slot] = []
  }

  private let state: Lock<State>

  /// Lists on the device, until `finish`.
  struct Lists {
    /// First byte.
    let address: UInt64
    fileprivate let slot: Slot?
    fileprivate let isCaptured: Bool
    /// Freed in stream order when the lists go.
    fileprivate let large: Large?
  }

  fileprivate final class Large: Sendable {
    let buffer: DeviceBuffer
    init(byteCount: Int, on stream: Stream) throws(CUDAError) {
      buffer = try DeviceBuffer(byteCount: byteCount, on: stream)
    }
  }

  /// Allocates all slots, so that no call has to.
  init(_ context: Context) throws(CUDAError) {
    let slots = try context.withCurrent("StagingRing.init") { () throws(CUDAError) -> [Slot] in
      let pool = try Pool(context)
      var slots: [Slot] = []
      for index in 0..<Self.slotCount + Self.captureCount {
        slots.append(try Slot(pool, index, context))
      }
      return slots
    }
    state = Lock(
      State(
        free: Array(slots[..<Self.slotCount]), reserved: Array(slots[Self.slotCount...])))
  }

  /// Enqueues the copy of `bytes` to the device.
  func begin(_ bytes: [UInt8], on stream: Stream) throws(CUDAError) -> Lists {
    let isCapturing = try stream.isCapturing()
    if bytes.count > Self.slotByteCount {
      return try beginLarge(bytes, isCapturing: isCapturing, on: stream)
    }
    let slot = try take(forCapture: isCapturing)
    do throws(CUDAError) {
      // The slot of a capture is new.
      if !isCapturing { try stream.wait(for: slot.event) }
      try slot.send(bytes[...], to: slot.address, on: stream)
    } catch {
      giveBack(slot, isCaptured: isCapturing)
      throw error
    }
    return Lists(
      address: slot.address, slot: slot, isCaptured: isCapturing, large: nil)
  }

  /// Says that every launch that reads the lists is enqueued.
  func finish(_ lists: Lists, on stream: Stream) throws(CUDAError) {
    guard let slot = lists.slot else { return }
    try release(slot, isCaptured: lists.isCaptured, on: stream)
  }

  /// Lists beyond a slot: one stream-ordered buffer, filled through as many slots as it takes.
  private func beginLarge(
    _ bytes: [UInt8], isCapturing: Bool, on stream: Stream
  ) throws(CUDAError) -> Lists {
    let large = try Large(byteCount: bytes.count, on: stream)
    for start in stride(from: 0, to: bytes.count, by: Self.slotByteCount) {
      let part = bytes[start..<min(start + Self.slotByteCount, bytes.count)]
      let slot = try take(forCapture: isCapturing)
      do throws(CUDAError) {
        try slot.send(part, to: large.buffer.address + UInt64(start), on: stream)
      } catch {
        giveBack(slot, isCaptured: isCapturing)
        throw error
      }
      try release(slot, isCaptured: isCapturing, on: stream)
    }
    return Lists(
      address: large.buffer.address, slot: nil, isCaptured: isCapturing, large: large)
  }

  /// The slot whose last use is longest ago, idle on the host side: waits for it if it must. Under
  /// capture one of those kept for that, because asking for an event could invalidate the capture.
  private func take(forCapture isCapturing: Bool) throws(CUDAError) -> Slot {
    while true {
      let slot = state.withLock { state in
        isCapturing ? state.reserved.popLast() : state.free.isEmpty ? nil : state.free.removeFirst()
      }
      guard let slot else {
        if isCapturing {
          throw CUDAError(
            kind: .argument([
              .init(
                "captured graphs must hold at most \(Self.captureCount) lists of host indices",
                found: "one more")
            ]), operation: "StagingRing.begin")
        }
        // More threads than slots are between `begin` and `finish`, a matter of microseconds.
        sched_yield()
        continue
      }
      if isCapturing { return slot }
      do throws(CUDAError) {
        if try !slot.event.isComplete() { try slot.event.synchronize() }
        return slot
      } catch {
        giveBack(slot)
        throw error
      }
    }
  }

  private func release(_ slot: Slot, isCaptured: Bool, on stream: Stream) throws(CUDAError) {
    if isCaptured {
      state.withLock { $0.captured.append(slot) }
      return
    }
    defer { giveBack(slot) }
    try slot.event.record(on: stream)
  }

  /// Puts a slot back where it came from.
  private func giveBack(_ slot: Slot, isCaptured: Bool = false) {
    state.withLock { state in
      if isCaptured { state.reserved.append(slot) } else { state.free.append(slot) }
    }
  }
}
