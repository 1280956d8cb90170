import ApusIR

extension Machine {
  typealias Shadow = UnsafeMutablePointer<SharedShadow>

  /// A range of bytes in the shared memory of one block.
  struct SharedPlace {
    var shadow: Shadow
    var start: Int
    var byteCount: Int
    var address: UInt32

    /// The block's shared memory.
    var shared: SharedMemory { shadow.pointee.owner.takeUnretainedValue() }
    /// The first byte.
    var bytes: UnsafeMutablePointer<UInt8> {
      @inline(__always) get { shadow.pointee.bytes + start }
    }

    func address(_ byte: Int) -> UInt64 { UInt64(address) + UInt64(byte - start) }
  }

  /// Bits of a shared address that hold the offset in the window; the byte above is the rank.
  static let windowBits: UInt32 = 24

  /// Resolves a shared address; reports misaligned and out-of-bounds ones.
  @inline(__always)
  func sharedPlace(
    _ address: UInt32, _ space: Op.MemorySpace, byteCount: Int, alignment: Int, _ warp: Warp,
    lanes: UInt32
  ) -> SharedPlace? {
    if address & (UInt32(truncatingIfNeeded: alignment) - 1) == 0,
      address >> Self.windowBits == warp.rank,
      let start = warp.shadow.pointee.index(
        Int(address & (1 << Self.windowBits - 1)), byteCount: byteCount)
    {
      return SharedPlace(shadow: warp.shadow, start: start, byteCount: byteCount, address: address)
    }
    return otherPlace(
      address, space, byteCount: byteCount, alignment: alignment, warp, lanes: lanes)
  }

  private func otherPlace(
    _ address: UInt32, _ space: Op.MemorySpace, byteCount: Int, alignment: Int, _ warp: Warp,
    lanes: UInt32
  ) -> SharedPlace? {
    if address % UInt32(alignment) != 0 {
      report(
        .misaligned(space, address: UInt64(address), alignment: alignment), warp, lanes: lanes)
      return nil
    }
    let rank = Int(address >> Self.windowBits)
    let blocks = warp.block.cluster.blocks
    // Without rank bits a shared address means the own block.
    let isOwn = space == .shared && (rank == warp.block.rank || rank == 0)
    let shared = isOwn ? warp.block.shared : rank < blocks.count ? blocks[rank].shared : nil
    if !isOwn, rank < blocks.count, blocks[rank].warps.allSatisfy(\.isFinished) {
      report(
        .missingWait("the memory of block \(rank) of the cluster, which has ended,"), warp,
        lanes: lanes)
      return nil
    }
    guard space != .shared || isOwn, let shared,
      let start = shared.shadow.pointee.index(
        Int(address & (1 << Self.windowBits - 1)), byteCount: byteCount)
    else {
      report(
        .outOfBounds(space, address: UInt64(address), byteCount: byteCount), warp, lanes: lanes)
      return nil
    }
    return SharedPlace(shadow: shared.shadow, start: start, byteCount: byteCount, address: address)
  }

  /// The lane of a set of one, else the whole warp.
  @inline(__always)
  func lane(_ lanes: UInt32) -> UInt32 {
    lanes & (lanes &- 1) == 0
      ? UInt32(truncatingIfNeeded: lanes.trailingZeroBitCount) : Knowledge.wholeWarp
  }

  // MARK: - Reads

  /// Checks and records an ordinary read. False: a violation was reported.
  @discardableResult @inline(__always)
  func noteRead(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    let shared = place.shadow
    let lane = lane(lanes)
    let read = warp.epoch << 6 | lane
    var isSound = true
    shared.pointee.forEachChunk(place.start, place.byteCount) { chunk, low, count in
      let arriving = shared.pointee.arriving[chunk]
      if !isAtomic, arriving == 0,
        shared.pointee.reads[chunk * shared.pointee.agentCount + warp.agent] == read
      {
        return
      }
      if arriving & SharedShadow.mask(low, count) != 0
        || !isReadable(shared, chunk, low, count, warp, lane, isAtomic)
      {
        isSound = false
      }
      if !isAtomic { shared.pointee.noteRead(chunk, low, count, warp.agent, read, at: warp.pc) }
    }
    if !isSound { explainRead(place, warp, lanes: lanes, isAtomic: isAtomic) }
    return isSound
  }

  @inline(__always)
  private func isReadable(
    _ shared: Shadow, _ chunk: Int, _ low: Int, _ count: Int, _ warp: Warp, _ lane: UInt32,
    _ isAtomic: Bool
  ) -> Bool {
    if !shared.pointee.isSplit[chunk] {
      let stamp = Stamp(bits: shared.pointee.stamps[chunk])
      return stamp.isWritten && isOrdered(stamp, warp, lane, isAtomic)
    }
    let all = shared.pointee.byteStamps + 16 * chunk
    var last: UInt64 = 0
    for byte in low..<low + count where all[byte] != last || byte == low {
      last = all[byte]
      let stamp = Stamp(bits: last)
      if !stamp.isWritten || !isOrdered(stamp, warp, lane, isAtomic) { return false }
    }
    return true
  }

  /// Whether a write happened before what a lane of the warp does now.
  @inline(__always)
  func isOrdered(_ stamp: Stamp, _ warp: Warp, _ lane: UInt32, _ isAtomic: Bool) -> Bool {
    let agent = stamp.agent
    if agent == warp.agent {
      let writer = stamp.lane
      if writer == lane || writer == Knowledge.wholeWarp || lane == Knowledge.wholeWarp {
        return true
      }
    }
    return warp.clock[agent].covers(stamp.epoch, lane: stamp.lane)
      || isAtomic && stamp.isAtomic
  }

  /// Reports the first byte at fault.
  private func explainRead(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool
  ) {
    let shared = place.shadow
    for byte in place.start..<place.start + place.byteCount {
      let stamp = shared.pointee.stamp(byte)
      if shared.pointee.arriving[byte >> 4] >> UInt16(byte & 15) & 1 != 0 {
        return report(.missingWait("shared byte \(place.address(byte))"), warp, lanes: lanes)
      }
      if !stamp.isWritten {
        return report(
          .uninitialisedRead(.shared, address: place.address(byte)), warp, lanes: lanes)
      }
      if !isOrdered(stamp, warp, lane(lanes), isAtomic) {
        return reportUnordered(stamp, place.address(byte), warp, lanes: lanes)
      }
    }
  }

  private func reportUnordered(_ stamp: Stamp, _ address: UInt64, _ warp: Warp, lanes: UInt32) {
    if stamp.agent == asyncAgent {
      report(.missingWait("shared byte \(address)"), warp, lanes: lanes)
    } else {
      report(
        .race(
          address: address, otherWarp: stamp.agent % warpCount,
          otherLocation: location(stamp.instruction)), warp, lanes: lanes)
    }
  }

  // MARK: - Writes

  /// Checks and records an ordinary write.
  @discardableResult @inline(__always)
  func noteWrite(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    let isSound = checkWritable(place, warp, lanes: lanes, isAtomic: isAtomic)
    place.shadow.pointee.write(
      place.start, place.byteCount,
      Stamp(
        epoch: warp.epoch, agent: warp.agent, lane: lane(lanes), instruction: warp.pc,
        isAtomic: isAtomic))
    return isSound
  }

  /// Whether nothing that is not ordered before `warp` uses the bytes.
  @inline(__always)
  func checkWritable(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    let shared = place.shadow
    let lane = lane(lanes)
    var isSound = true
    shared.pointee.forEachChunk(place.start, place.byteCount) { chunk, low, count in
      if shared.pointee.sourceLocks[chunk] != 0
        || shared.pointee.arriving[chunk] & SharedShadow.mask(low, count) != 0
        || !isOverwritable(shared, chunk, low, count, warp, lane, isAtomic)
      {
        isSound = false
      } else if shared.pointee.readers[chunk] != 0,
        !areReadsOrdered(shared, chunk, low, count, warp, lane)
      {
        isSound = false
      }
    }
    if !isSound { explainWrite(place, warp, lanes: lanes, isAtomic: isAtomic) }
    return isSound
  }

  @inline(__always)
  private func isOverwritable(
    _ shared: Shadow, _ chunk: Int, _ low: Int, _ count: Int, _ warp: Warp, _ lane: UInt32,
    _ isAtomic: Bool
  ) -> Bool {
    if !shared.pointee.isSplit[chunk] {
      return isReplaceable(Stamp(bits: shared.pointee.stamps[chunk]), warp, lane, isAtomic)
    }
    let all = shared.pointee.byteStamps + 16 * chunk
    var last: UInt64 = 0
    for byte in low..<low + count where all[byte] != last {
      last = all[byte]
      if !isReplaceable(Stamp(bits: last), warp, lane, isAtomic) { return false }
    }
    return true
  }

  /// As `isOrdered`; lanes of one instruction may write the same byte, mostly with one value.
  @inline(__always)
  private func isReplaceable(
    _ stamp: Stamp, _ warp: Warp, _ lane: UInt32, _ isAtomic: Bool
  ) -> Bool {
    stamp.bits == 0 || isOrdered(stamp, warp, lane, isAtomic)
      || stamp.agent == warp.agent && stamp.epoch == warp.epoch && stamp.instruction == warp.pc
  }

  private func areReadsOrdered(
    _ shared: Shadow, _ chunk: Int, _ low: Int, _ count: Int, _ warp: Warp, _ lane: UInt32
  ) -> Bool {
    var isOrdered = true
    shared.pointee.forEachReader(chunk) { agent in
      let index = chunk * shared.pointee.agentCount + agent
      if shared.pointee.reads[index] != SharedShadow.mixed {
        if !isReadOrdered(shared.pointee.reads[index], agent, warp, lane) { isOrdered = false }
      } else {
        for byte in low..<low + count
        where !isReadOrdered(shared.pointee.byteReads[16 * index + byte], agent, warp, lane) {
          isOrdered = false
        }
      }
    }
    return isOrdered
  }

  @inline(__always)
  private func isReadOrdered(_ read: UInt32, _ agent: Int, _ warp: Warp, _ lane: UInt32) -> Bool {
    let reader = read & 63
    if agent == warp.agent,
      reader == lane || reader == Knowledge.wholeWarp || lane == Knowledge.wholeWarp
    {
      return true
    }
    return read == 0 || warp.clock[agent].covers(read >> 6, lane: reader)
  }

  private func explainWrite(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool
  ) {
    let shared = place.shadow
    let lane = lane(lanes)
    for byte in place.start..<place.start + place.byteCount {
      let stamp = shared.pointee.stamp(byte)
      if shared.pointee.arriving[byte >> 4] >> UInt16(byte & 15) & 1 != 0
        || shared.pointee.sourceLocks[byte >> 4] > 0
      {
        return report(.missingWait("shared byte \(place.address(byte))"), warp, lanes: lanes)
      }
      if !isReplaceable(stamp, warp, lane, isAtomic) {
        return reportUnordered(stamp, place.address(byte), warp, lanes: lanes)
      }
      for agent in 0..<shared.pointee.agentCount
      where !isReadOrdered(shared.pointee.read(byte, agent), agent, warp, lane) {
        return report(
          .race(
            address: place.address(byte), otherWarp: agent % warpCount,
            otherLocation: location(Int(shared.pointee.readerInstruction[byte >> 4]))), warp,
          lanes: lanes)
      }
    }
  }

  /// Marks or clears bytes that a copy in flight will write.
  func setArriving(_ place: SharedPlace, _ isArriving: Bool) {
    let shared = place.shadow
    shared.pointee.forEachChunk(place.start, place.byteCount) { chunk, low, count in
      let mask = SharedShadow.mask(low, count)
      if isArriving {
        shared.pointee.arriving[chunk] |= mask
      } else {
        shared.pointee.arriving[chunk] &= ~mask
      }
    }
  }

  /// Marks or clears chunks that an asynchronous op reads.
  func lockSource(_ place: SharedPlace, _ isLocked: Bool) {
    place.shadow.pointee.forEachChunk(place.start, place.byteCount) { chunk, _, _ in
      if isLocked {
        place.shadow.pointee.sourceLocks[chunk] &+= 1
      } else if place.shadow.pointee.sourceLocks[chunk] > 0 {
        place.shadow.pointee.sourceLocks[chunk] &-= 1
      }
    }
  }
}
