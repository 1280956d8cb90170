import ApusIR

/// Order of accesses to global memory: writes of the launch carry a stamp and their cluster.
extension Machine {
  /// How global bytes are read.
  enum GlobalAccess { case plain, atomic, nonCoherent, asyncProxy }

  /// Reports an access that nothing orders behind a wait for the preceding launch.
  func checkDependency(_ address: UInt64, _ warp: Warp, lanes: UInt32) {
    for wait in warp.block.dependencyWaits {
      if wait.agent == warp.agent, wait.lanes & lanes == lanes { return }
      let known = warp.clock[wait.agent]
      let isOrdered = (UInt32(0)..<32).contains {
        wait.lanes >> $0 & 1 == 1 && known.covers(wait.epoch, lane: $0)
      }
      if isOrdered { return }
    }
    report(
      .missingWait("global address 0x\(String(address, radix: 16)) of the preceding launch"), warp,
      lanes: lanes)
  }

  @inline(__always)
  func checkGlobalRead(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ address: UInt64, _ warp: Warp, lanes: UInt32,
    _ access: GlobalAccess
  ) {
    if access == .plain, isOwnWrite(place, byteCount, warp, lane(lanes)) { return }
    checkPagesRead(place, byteCount, address, warp, lanes: lanes, access)
  }

  /// Whether one write of this very lane left all the bytes: the common case of a re-read.
  @inline(__always)
  private func isOwnWrite(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ warp: Warp, _ lane: UInt32
  ) -> Bool {
    guard let (page, low) = place.pages?.madePage(place.start, byteCount) else { return false }
    let first = page.stamps[low]
    for byte in low..<low + byteCount
    where page.stamps[byte] != first || page.clusters[byte] != UInt32(warp.clusterIndex) {
      return false
    }
    let stamp = Stamp(bits: first)
    return first == 0 || stamp.agent == warp.agent && stamp.lane == lane
  }

  private func checkPagesRead(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ address: UInt64, _ warp: Warp, lanes: UInt32,
    _ access: GlobalAccess
  ) {
    let lane = lane(lanes)
    let own = UInt32(truncatingIfNeeded: warp.clusterIndex)
    var (last, lastCluster) = (UInt64(0), own)
    place.pages?.forEachPart(place.start, byteCount) { page, low, offset, count in
      for byte in low..<low + count {
        let (bits, cluster) = (page.stamps[byte], page.clusters[byte])
        if bits == last, cluster == lastCluster { continue }
        (last, lastCluster) = (bits, cluster)
        if bits == 0 { continue }
        let stamp = Stamp(bits: bits)
        let at = address + UInt64(offset + byte - low)
        if access == .nonCoherent {
          report(
            .invalidOperand(
              "a non-coherent load must not read what the launch writes; found 0x"
                + String(at, radix: 16)), warp, lanes: lanes)
          return false
        }
        if !isGloballyOrdered(stamp, cluster, own, warp, lane, access == .atomic) {
          reportGlobalRace(stamp, cluster == own, at, warp, lanes: lanes)
          return false
        }
        if access == .asyncProxy, cluster == own, stamp.agent != asyncAgent,
          !isFenced(stamp, .global, warp, lane)
        {
          report(.missingProxyFence(address: at), warp, lanes: lanes)
          return false
        }
      }
      return true
    }
  }

  @inline(__always)
  private func isGloballyOrdered(
    _ stamp: Stamp, _ cluster: UInt32, _ own: UInt32, _ warp: Warp, _ lane: UInt32,
    _ isAtomic: Bool
  ) -> Bool {
    if isAtomic, stamp.isAtomic { return true }
    if cluster == own { return isOrdered(stamp, warp, lane, isAtomic) }
    guard let agents = warp.clock.others.pointee[Int(cluster)] else { return false }
    return agents[stamp.agent].covers(stamp.epoch, lane: stamp.lane)
  }

  private func reportGlobalRace(
    _ stamp: Stamp, _ isOwn: Bool, _ address: UInt64, _ warp: Warp, lanes: UInt32
  ) {
    if isOwn, stamp.agent == asyncAgent {
      report(.missingWait("global byte 0x\(String(address, radix: 16))"), warp, lanes: lanes)
    } else {
      report(
        .race(
          address: address, otherWarp: stamp.agent == asyncAgent ? nil : stamp.agent % warpCount,
          otherLocation: location(stamp.instruction)), warp, lanes: lanes)
    }
  }

  /// Whether the last writes of the bytes happened before; reports if not.
  func checkGlobalWrite(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ address: UInt64, _ warp: Warp, lanes: UInt32,
    isAtomic: Bool = false, reports: Bool = true
  ) -> Bool {
    let lane = lane(lanes)
    let own = UInt32(truncatingIfNeeded: warp.clusterIndex)
    var isSound = true
    var (last, lastCluster) = (UInt64(0), own)
    place.pages?.forEachPart(place.start, byteCount) { page, low, offset, count in
      for byte in low..<low + count {
        let (bits, cluster) = (page.stamps[byte], page.clusters[byte])
        if bits == last, cluster == lastCluster { continue }
        (last, lastCluster) = (bits, cluster)
        let stamp = Stamp(bits: bits)
        if bits == 0 || isGloballyOrdered(stamp, cluster, own, warp, lane, isAtomic) { continue }
        if cluster == own, stamp.agent == warp.agent, stamp.epoch == warp.epoch,
          stamp.instruction == warp.pc
        {
          continue
        }
        if reports {
          reportGlobalRace(
            stamp, cluster == own, address + UInt64(offset + byte - low), warp, lanes: lanes)
        }
        isSound = false
        return false
      }
      return true
    }
    return isSound
  }

  /// Checks and records a write. One of the bytes that are there already changes nothing, whoever
  /// wrote them.
  @inline(__always)
  func noteGlobalWrite(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ address: UInt64, _ warp: Warp, lanes: UInt32,
    isAtomic: Bool, isSame: Bool
  ) {
    if place.hasStamps(byteCount) {
      let isHarmless = isSame && place.isWritten(byteCount)
      let isOrdered = checkGlobalWrite(
        place, byteCount, address, warp, lanes: lanes, isAtomic: isAtomic, reports: !isHarmless)
      if isHarmless, !isOrdered { return }
    }
    stampGlobal(
      place, byteCount,
      Stamp(
        epoch: warp.epoch, agent: warp.agent, lane: lane(lanes), instruction: warp.pc,
        isAtomic: isAtomic), warp.clusterIndex)
  }

  @inline(__always)
  func stampGlobal(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ stamp: Stamp, _ cluster: Int
  ) {
    if let (page, low) = place.pages?.madePage(place.start, byteCount) {
      for byte in low..<low + byteCount { page.stamps[byte] = stamp.bits }
      for byte in low..<low + byteCount {
        page.clusters[byte] = UInt32(truncatingIfNeeded: cluster)
      }
    } else {
      stampPages(place, byteCount, stamp, cluster)
    }
  }

  private func stampPages(
    _ place: DeviceMemory.Place, _ byteCount: Int, _ stamp: Stamp, _ cluster: Int
  ) {
    place.pages?.touch(place.start, byteCount)
    place.pages?.forEachPart(place.start, byteCount) { page, low, _, count in
      for byte in low..<low + count {
        page.stamps[byte] = stamp.bits
        page.clusters[byte] = UInt32(truncatingIfNeeded: cluster)
      }
      return true
    }
  }
}

extension DeviceMemory.Place {
  /// Whether the launch wrote near the bytes.
  @inline(__always)
  func hasStamps(_ byteCount: Int) -> Bool {
    byteCount > 0 && pages?.isTouched(start, byteCount) == true
  }
}
