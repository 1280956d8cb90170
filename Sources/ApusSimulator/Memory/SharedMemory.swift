#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The shared window of one block and its mbarriers.
final class SharedMemory {
  /// First valid offset: the hardware keeps the first KiB for itself, and so an address that forgot
  /// its base is out of bounds.
  static let base = 1024

  /// Bytes and shadow state, behind a pointer: the inner loops count no references.
  let shadow: UnsafeMutablePointer<SharedShadow>
  var barriers: [Int: MBarrier] = [:]

  init(byteCount: Int, agentCount: Int) {
    shadow = .allocate(capacity: 1)
    shadow.initialize(
      to: SharedShadow(
        byteCount: byteCount, agentCount: agentCount, owner: Unmanaged.passUnretained(self)))
  }

  deinit {
    shadow.pointee.deallocate()
    shadow.deallocate()
  }
}

/// The bytes of a shared window with their shadow state.
///
/// Race detection follows FastTrack (Flanagan and Freund, PLDI 2009) with full read vectors. The
/// state of 16 bytes, a *chunk*, is one entry while all its bytes agree, as they do for copies and
/// matrix operands, and one per byte otherwise. Agents are the warps of the cluster and one more
/// for asynchronous copies.
struct SharedShadow {
  /// Entry of `reads` whose bytes differ: see `byteReads`.
  static let mixed: UInt32 = .max

  let owner: Unmanaged<SharedMemory>
  let byteCount: Int
  let agentCount: Int
  let bytes: UnsafeMutablePointer<UInt8>
  /// Last write of each chunk, if its bytes agree.
  let stamps: UnsafeMutablePointer<UInt64>
  /// Whether the bytes of a chunk have a stamp each.
  let isSplit: UnsafeMutablePointer<Bool>
  let byteStamps: UnsafeMutablePointer<UInt64>
  /// Bytes of each chunk that a copy in flight will write, as a bit set.
  let arriving: UnsafeMutablePointer<UInt16>
  /// Asynchronous ops in flight that read the chunk.
  let sourceLocks: UnsafeMutablePointer<UInt16>
  /// Agents that read the chunk since it was written as a whole; agent 63 stands for all above.
  let readers: UnsafeMutablePointer<UInt64>
  /// For each chunk and agent the last read: epoch · 64 + lane, 0 for none.
  let reads: UnsafeMutablePointer<UInt32>
  let byteReads: UnsafeMutablePointer<UInt32>
  let readerInstruction: UnsafeMutablePointer<Int32>

  init(byteCount: Int, agentCount: Int, owner: Unmanaged<SharedMemory>) {
    self.owner = owner
    self.byteCount = byteCount
    self.agentCount = agentCount
    let chunks = (byteCount + 15) / 16
    bytes = Self.zeros(16 * chunks)
    stamps = Self.zeros(chunks)
    isSplit = Self.zeros(chunks)
    byteStamps = Self.zeros(16 * chunks)
    arriving = Self.zeros(chunks)
    sourceLocks = Self.zeros(chunks)
    readers = Self.zeros(chunks)
    reads = Self.zeros(chunks * agentCount)
    byteReads = Self.zeros(16 * chunks * agentCount)
    readerInstruction = Self.zeros(chunks)
    bytes.update(repeating: 0xCD, count: 16 * chunks)
  }

  /// Zeroed pages on demand: most of the byte-wise state is never touched.
  private static func zeros<T: BitwiseCopyable>(_ count: Int) -> UnsafeMutablePointer<T> {
    guard let raw = calloc(max(1, count), MemoryLayout<T>.stride) else {
      let pointer = UnsafeMutableRawPointer.allocate(
        byteCount: max(1, count) * MemoryLayout<T>.stride, alignment: 16)
      return pointer.assumingMemoryBound(to: T.self)
    }
    return raw.bindMemory(to: T.self, capacity: max(1, count))
  }

  func deallocate() {
    let all: [UnsafeMutableRawPointer] = [
      .init(bytes), .init(stamps), .init(isSplit), .init(byteStamps), .init(arriving),
      .init(sourceLocks), .init(readers), .init(reads), .init(byteReads), .init(readerInstruction),
    ]
    for pointer in all { free(pointer) }
  }

  /// Index of the first byte of an in-bounds range of window offsets.
  @inline(__always)
  func index(_ offset: Int, byteCount count: Int) -> Int? {
    let start = offset - SharedMemory.base
    return start >= 0 && count >= 0 && start <= byteCount - count ? start : nil
  }

  /// Calls `body` with each chunk of a range: its number, first byte in it, bytes.
  @inline(__always)
  func forEachChunk(_ start: Int, _ byteCount: Int, _ body: (Int, Int, Int) -> Void) {
    var start = start
    let end = start + byteCount
    while start < end {
      let low = start & 15
      let count = min(16 - low, end - start)
      body(start >> 4, low, count)
      start += count
    }
  }

  @inline(__always)
  func stamp(_ byte: Int) -> Stamp {
    Stamp(bits: isSplit[byte >> 4] ? byteStamps[byte] : stamps[byte >> 4])
  }

  @inline(__always)
  static func mask(_ low: Int, _ count: Int) -> UInt16 {
    UInt16(truncatingIfNeeded: (1 << count - 1) << low)
  }

  // MARK: - Writes

  /// Records a write; nobody's earlier reads matter for those who come after it.
  @inline(__always)
  func write(_ start: Int, _ byteCount: Int, _ stamp: Stamp) {
    forEachChunk(start, byteCount) { chunk, low, count in
      if count == 16 {
        stamps[chunk] = stamp.bits
        isSplit[chunk] = false
        if readers[chunk] != 0 { forgetReads(chunk, 0, 16) }
      } else {
        writePart(chunk, low, count, stamp)
      }
    }
  }

  private func writePart(_ chunk: Int, _ low: Int, _ count: Int, _ stamp: Stamp) {
    if readers[chunk] != 0 { forgetReads(chunk, low, count) }
    let all = byteStamps + 16 * chunk
    if !isSplit[chunk] {
      if stamps[chunk] == stamp.bits { return }
      all.update(repeating: stamps[chunk], count: 16)
      isSplit[chunk] = true
    }
    (all + low).update(repeating: stamp.bits, count: count)
    for byte in 0..<16 where all[byte] != stamp.bits { return }
    stamps[chunk] = stamp.bits
    isSplit[chunk] = false
  }

  // MARK: - Reads

  /// Records a read of part of a chunk: epoch · 64 + lane.
  @inline(__always)
  func noteRead(_ chunk: Int, _ low: Int, _ count: Int, _ agent: Int, _ read: UInt32, at pc: Int) {
    let index = chunk * agentCount + agent
    let old = reads[index]
    if old == read { return }
    readerInstruction[chunk] = Int32(truncatingIfNeeded: pc)
    readers[chunk] |= 1 << UInt64(min(agent, 63))
    if count == 16, old != Self.mixed {
      reads[index] = Self.joined(old, read)
    } else {
      noteReadPart(index, low, count, old, read)
    }
  }

  private func noteReadPart(_ index: Int, _ low: Int, _ count: Int, _ old: UInt32, _ read: UInt32) {
    let all = byteReads + 16 * index
    if old != Self.mixed {
      all.update(repeating: old, count: 16)
      reads[index] = Self.mixed
    }
    for byte in low..<low + count { all[byte] = Self.joined(all[byte], read) }
    let first = all[0]
    for byte in 1..<16 where all[byte] != first { return }
    reads[index] = first
  }

  /// Two reads of one byte by a warp: the later epoch; of one epoch, several lanes.
  @inline(__always)
  private static func joined(_ old: UInt32, _ read: UInt32) -> UInt32 {
    if old >> 6 != read >> 6 || old & 63 == read & 63 { return read }
    if old & 63 == Knowledge.wholeWarp { return read }
    if read & 63 == Knowledge.wholeWarp { return old }
    return read & ~63 | Knowledge.several
  }

  /// The last read of a byte by an agent.
  func read(_ byte: Int, _ agent: Int) -> UInt32 {
    let index = (byte >> 4) * agentCount + agent
    return reads[index] == Self.mixed ? byteReads[16 * index + byte & 15] : reads[index]
  }

  private func forgetReads(_ chunk: Int, _ low: Int, _ count: Int) {
    forEachReader(chunk) { agent in
      let index = chunk * agentCount + agent
      if count == 16 {
        reads[index] = 0
      } else if reads[index] != 0 {
        let all = byteReads + 16 * index
        if reads[index] != Self.mixed {
          all.update(repeating: reads[index], count: 16)
          reads[index] = Self.mixed
        }
        (all + low).update(repeating: 0, count: count)
      }
    }
    if count == 16 { readers[chunk] = 0 }
  }

  @inline(__always)
  func forEachReader(_ chunk: Int, _ body: (Int) -> Void) {
    var rest = readers[chunk] & ~(1 << 63)
    while rest != 0 {
      body(rest.trailingZeroBitCount)
      rest &= rest - 1
    }
    if readers[chunk] >> 63 != 0 {
      for agent in 63..<agentCount { body(agent) }
    }
  }
}
