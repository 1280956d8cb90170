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
/// back-pressure comes after `slotCount` unfinished calls. Lists beyond a slot take a stream-ordered
/// buffer and pass through several slots.
///
/// A call under stream capture copies from a block of its own, because every replay of the graph does:
/// the graph keeps the block, and gives it back when it has gone with all executables made of it.
/// Blocks are made as captures need them.
final class StagingRing: Sendable {
  /// Slots of the ring.
  static let slotCount = 32
  /// Bytes of a slot: 8192 indices of 64 bits.
  static let slotByteCount = 64 << 10

  /// The memory of all slots, or of a captured list.
  fileprivate final class Block: Sendable {
    let host: PinnedBuffer
    let device: DeviceBuffer

    init(byteCount: Int, _ context: Context) throws(CUDAError) {
      host = try PinnedBuffer(byteCount: byteCount, in: context)
      device = try DeviceBuffer(byteCount: byteCount, in: context)
    }

    /// Enqueues the copy of bytes that go to an offset of the host memory first.
    func send(
      _ bytes: ArraySlice<UInt8>, through offset: Int, to address: UInt64, on stream: Stream
    ) throws(CUDAError) {
      let place = UnsafeMutableRawBufferPointer(
        rebasing: host.bytes[offset..<offset + bytes.count])
      bytes.withUnsafeBytes { place.copyMemory(from: $0) }
      try stream.copy(
        from: UnsafeRawBufferPointer(place),
        to: DeviceView(address: address, byteCount: bytes.count))
    }
  }

  fileprivate final class Slot: Sendable {
    private let block: Block
    private let offset: Int
    /// Behind the last launches that read the slot.
    let event: Event

    /// First byte on the device.
    var address: UInt64 { block.device.address + UInt64(offset) }

    fileprivate init(_ block: Block, _ index: Int, _ context: Context) throws(CUDAError) {
      self.block = block
      offset = index * StagingRing.slotByteCount
      event = try Event(in: context, timing: false)
    }

    /// Enqueues the copy of at most `slotByteCount` bytes.
    func send(
      _ bytes: ArraySlice<UInt8>, to address: UInt64, on stream: Stream
    ) throws(CUDAError) {
      try block.send(bytes, through: offset, to: address, on: stream)
    }
  }

  /// A captured list's block, held by the graph. Its end is a destructor of the driver's, which must
  /// not call the driver: the block waits for another capture, and lists of blocks whose ring has gone
  /// wait in `orphans`.
  private final class Lease: Sendable {
    let block: Block
    private let blocks: Lock<[Block]>

    init(_ block: Block, _ blocks: Lock<[Block]>) {
      self.block = block
      self.blocks = blocks
    }

    deinit {
      let (block, blocks) = (block, blocks)
      blocks.withLock { $0.append(block) }
      StagingRing.orphans.withLock { $0[ObjectIdentifier(blocks)] = blocks }
    }
  }

  /// References to lists of blocks that would be the last ones if they ended in a destructor.
  private static let orphans = Lock<[ObjectIdentifier: Lock<[Block]>]>([:])

  /// Frees blocks whose ring and graphs have gone, on a thread that may call the driver.
  private static func freeOrphans() {
    let gone = orphans.withLock { orphans in
      let all = Array(orphans.values)
      orphans = [:]
      return all
    }
    withExtendedLifetime(gone) {}
  }

  private let context: Context
  /// Slots in the order of their last use, the oldest first.
  private let free: Lock<[Slot]>
  /// Blocks that no graph holds.
  private let blocks = Lock<[Block]>([])

  /// Lists on the device, until `finish`.
  struct Lists {
    /// First byte.
    let address: UInt64
    fileprivate let slot: Slot?
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
    self.context = context
    let slots = try context.relaxingCaptures("StagingRing.init") { () throws(CUDAError) -> [Slot] in
      Self.freeOrphans()
      let block = try Block(byteCount: Self.slotCount * Self.slotByteCount, context)
      var slots: [Slot] = []
      for index in 0..<Self.slotCount { slots.append(try Slot(block, index, context)) }
      return slots
    }
    free = Lock(slots)
  }

  deinit { Self.freeOrphans() }

  /// Enqueues the copy of `bytes` to the device.
  func begin(_ bytes: [UInt8], on stream: Stream) throws(CUDAError) -> Lists {
    if try stream.isCapturing() { return try beginCaptured(bytes, on: stream) }
    if bytes.count > Self.slotByteCount { return try beginLarge(bytes, on: stream) }
    let slot = try take()
    do throws(CUDAError) {
      try stream.wait(for: slot.event)
      try slot.send(bytes[...], to: slot.address, on: stream)
    } catch {
      giveBack(slot)
      throw error
    }
    return Lists(address: slot.address, slot: slot, large: nil)
  }

  /// Says that every launch that reads the lists is enqueued.
  func finish(_ lists: Lists, on stream: Stream) throws(CUDAError) {
    guard let slot = lists.slot else { return }
    try release(slot, on: stream)
  }

  /// Lists beyond a slot: one stream-ordered buffer, filled through as many slots as it takes.
  private func beginLarge(_ bytes: [UInt8], on stream: Stream) throws(CUDAError) -> Lists {
    let large = try Large(byteCount: bytes.count, on: stream)
    for start in stride(from: 0, to: bytes.count, by: Self.slotByteCount) {
      let part = bytes[start..<min(start + Self.slotByteCount, bytes.count)]
      let slot = try take()
      do throws(CUDAError) {
        try stream.wait(for: slot.event)
        try slot.send(part, to: large.buffer.address + UInt64(start), on: stream)
      } catch {
        giveBack(slot)
        throw error
      }
      try release(slot, on: stream)
    }
    return Lists(address: large.buffer.address, slot: nil, large: large)
  }

  /// Lists of a captured call, in a block that the graph keeps.
  private func beginCaptured(_ bytes: [UInt8], on stream: Stream) throws(CUDAError) -> Lists {
    let lease = Lease(try block(byteCount: bytes.count), blocks)
    // From here on the block goes back by itself when something fails.
    try stream.keepInCapture(lease)
    let address = lease.block.device.address
    try lease.block.send(bytes[...], through: 0, to: address, on: stream)
    return Lists(address: address, slot: nil, large: nil)
  }

  /// The smallest free block that holds a list, or a new one; sizes are powers of two.
  private func block(byteCount: Int) throws(CUDAError) -> Block {
    let known = blocks.withLock { blocks -> Block? in
      let fitting = blocks.indices.filter { blocks[$0].device.byteCount >= byteCount }
      let best = fitting.min { blocks[$0].device.byteCount < blocks[$1].device.byteCount }
      return best.map { blocks.remove(at: $0) }
    }
    if let known { return known }
    var size = 4096
    while size < byteCount { size *= 2 }
    let context = context
    return try context.relaxingCaptures("StagingRing.begin") { () throws(CUDAError) in
      try Block(byteCount: size, context)
    }
  }

  /// The slot whose last use is longest ago, idle on the host side: waits for it if it must.
  private func take() throws(CUDAError) -> Slot {
    while true {
      guard let slot = free.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else {
        // More threads than slots are between `begin` and `finish`, a matter of microseconds.
        sched_yield()
        continue
      }
      do throws(CUDAError) {
        let context = context
        try context.relaxingCaptures("StagingRing.begin") { () throws(CUDAError) in
          if try !slot.event.isComplete() { try slot.event.synchronize() }
        }
        return slot
      } catch {
        giveBack(slot)
        throw error
      }
    }
  }

  private func release(_ slot: Slot, on stream: Stream) throws(CUDAError) {
    defer { giveBack(slot) }
    try slot.event.record(on: stream)
  }

  private func giveBack(_ slot: Slot) { free.withLock { $0.append(slot) } }
}
