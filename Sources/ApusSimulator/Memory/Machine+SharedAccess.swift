import ApusIR

extension Machine {
  /// A range of bytes in the shared memory of one block.
  struct SharedPlace {
    var shared: SharedMemory
    var start: Int
    var byteCount: Int
    var address: UInt32

    func address(_ byte: Int) -> UInt64 { UInt64(address) + UInt64(byte - start) }
  }

  /// Bits of a shared address that hold the offset in the window; the byte above is the rank.
  static let windowBits: UInt32 = 24

  /// Resolves a shared address; reports misaligned and out-of-bounds ones.
  func sharedPlace(
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
    guard space != .shared || isOwn, let shared,
      let start = shared.index(
        Int(address & (1 << Self.windowBits - 1)), byteCount: byteCount)
    else {
      report(
        .outOfBounds(space, address: UInt64(address), byteCount: byteCount), warp, lanes: lanes)
      return nil
    }
    return SharedPlace(shared: shared, start: start, byteCount: byteCount, address: address)
  }

  /// Checks and records an ordinary read. False: a violation was reported.
  @discardableResult
  func noteRead(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    let shared = place.shared
    let epoch = warp.clock[warp.agent]
    var isSound = true
    for byte in place.start..<place.start + place.byteCount {
      let flags = shared.flags[byte]
      if flags.contains(.arriving) {
        report(.missingWait("shared byte \(place.address(byte))"), warp, lanes: lanes)
        isSound = false
      } else if !flags.contains(.written) {
        report(.uninitialisedRead(.shared, address: place.address(byte)), warp, lanes: lanes)
        isSound = false
      } else if !checkWriter(byte, place, warp, lanes: lanes, isAtomic: isAtomic) {
        isSound = false
      }
      if !isAtomic { shared.readEpochs[byte * shared.agentCount + warp.agent] = epoch }
      shared.readerInstruction[byte] = Int32(warp.pc)
    }
    return isSound
  }

  /// Checks and records an ordinary write.
  @discardableResult
  func noteWrite(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    writeSequence += 1
    let isSound = checkWritable(place, warp, lanes: lanes, isAtomic: isAtomic)
    let shared = place.shared
    for byte in place.start..<place.start + place.byteCount {
      shared.flags[byte] = isAtomic ? [.written, .byAtomic] : .written
      shared.writer[byte] = UInt16(warp.agent)
      shared.writerEpoch[byte] = warp.clock[warp.agent]
      shared.writerInstruction[byte] = Int32(warp.pc)
      shared.writerSequence[byte] = writeSequence
    }
    return isSound
  }

  /// Whether nothing that is not ordered before `warp` uses the bytes.
  func checkWritable(
    _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool = false
  ) -> Bool {
    let shared = place.shared
    for byte in place.start..<place.start + place.byteCount {
      if shared.flags[byte].contains(.arriving) || shared.sourceLocks[byte] > 0 {
        report(.missingWait("shared byte \(place.address(byte))"), warp, lanes: lanes)
        return false
      }
      if !checkWriter(byte, place, warp, lanes: lanes, isAtomic: isAtomic) { return false }
      for agent in 0..<shared.agentCount where agent != warp.agent {
        if shared.readEpochs[byte * shared.agentCount + agent] > warp.clock[agent] {
          report(
            .race(
              address: place.address(byte), otherWarp: agent % warpCount,
              otherLocation: location(shared.readerInstruction[byte])), warp, lanes: lanes)
          return false
        }
      }
    }
    return true
  }

  private func checkWriter(
    _ byte: Int, _ place: SharedPlace, _ warp: Warp, lanes: UInt32, isAtomic: Bool
  ) -> Bool {
    let shared = place.shared
    let writer = shared.writer[byte]
    guard writer != SharedMemory.nobody, Int(writer) != warp.agent,
      shared.writerEpoch[byte] > warp.clock[Int(writer)]
    else { return true }
    if isAtomic, shared.flags[byte].contains(.byAtomic) { return true }
    if Int(writer) == asyncAgent {
      report(.missingWait("shared byte \(place.address(byte))"), warp, lanes: lanes)
    } else {
      report(
        .race(
          address: place.address(byte), otherWarp: Int(writer) % warpCount,
          otherLocation: location(shared.writerInstruction[byte])), warp, lanes: lanes)
    }
    return false
  }

  /// Whether bytes that ordinary stores wrote are fenced for the async proxy.
  func checkProxyFence(_ place: SharedPlace, _ warp: Warp, lanes: UInt32) -> Bool {
    let shared = place.shared
    for byte in place.start..<place.start + place.byteCount {
      let writer = Int(shared.writer[byte])
      guard writer < asyncAgent, !shared.flags[byte].contains(.byAsync) else { continue }
      let author = warp.block.cluster.blocks[writer / warpCount].warps[writer % warpCount]
      if author.proxyFence < shared.writerSequence[byte] {
        report(.missingProxyFence(address: place.address(byte)), warp, lanes: lanes)
        return false
      }
    }
    return true
  }

  // MARK: - Order

  /// Ends the warp's epoch: what it does from now on is not covered by clocks taken before.
  func release(_ warp: Warp, into clock: inout VectorClock) {
    clock.merge(warp.clock)
    warp.clock[warp.agent] += 1
  }
}
