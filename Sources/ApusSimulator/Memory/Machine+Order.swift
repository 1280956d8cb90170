import ApusIR

/// What happened before what: releases of warps and fences between proxies.
extension Machine {
  /// Publishes what `lanes` know and did, and ends the warp's epoch: what it does from now on is
  /// not covered by clocks taken before.
  func release(_ warp: Warp, lanes: UInt32, into clock: inout VectorClock) {
    clock.merge(warp.clock)
    clock.merge(Knowledge(lanes: lanes, through: warp.epoch), of: warp.agent)
    nextEpoch(warp)
  }

  func nextEpoch(_ warp: Warp) {
    warp.epoch += 1
    if warp.epoch >= Stamp.maximumEpoch {
      report(.instructionLimit(instructionCount), warp, lanes: warp.mask)
      isAborted = true
    }
  }

  // MARK: - The async proxy

  /// Whether bytes that ordinary stores wrote are fenced for the async proxy: each writing lane
  /// fences, and the fence happens before the asynchronous op.
  func checkProxyFence(_ place: SharedPlace, _ warp: Warp, lanes: UInt32) -> Bool {
    let shared = place.shadow
    let lane = lane(lanes)
    var isSound = true
    var last: UInt64 = 0
    @inline(__always)
    func check(_ bits: UInt64, _ byte: Int) {
      guard bits != last, isSound else { return }
      let stamp = Stamp(bits: bits)
      if bits == 0 || stamp.agent == asyncAgent || isFenced(stamp, .shared, warp, lane) {
        last = bits
      } else {
        isSound = false
        report(.missingProxyFence(address: place.address(byte)), warp, lanes: lanes)
      }
    }
    shared.pointee.forEachChunk(place.start, place.byteCount) { chunk, low, count in
      if !shared.pointee.isSplit[chunk] {
        return check(shared.pointee.stamps[chunk], 16 * chunk + low)
      }
      for byte in low..<low + count {
        check(shared.pointee.byteStamps[16 * chunk + byte], 16 * chunk + byte)
      }
    }
    return isSound
  }

  func isFenced(
    _ stamp: Stamp, _ space: Op.ProxySpace, _ warp: Warp, _ lane: UInt32
  ) -> Bool {
    let author = warp.block.cluster.blocks[stamp.agent / warpCount].warps[stamp.agent % warpCount]
    for fence in author.fences.reversed() {
      if fence.epoch < stamp.epoch { return false }
      guard fence.space == space || fence.space == .all,
        stamp.lane >= 32 ? fence.lanes == .max : fence.lanes >> stamp.lane & 1 == 1
      else { continue }
      if author === warp, stamp.lane == lane || stamp.lane >= 32 || lane >= 32 { return true }
      if warp.clock[stamp.agent].covers(fence.epoch + 1, lane: stamp.lane) { return true }
    }
    return false
  }
}
