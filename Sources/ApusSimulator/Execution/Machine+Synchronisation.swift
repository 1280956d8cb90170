import ApusIR

extension Machine {
  func execute(_ op: Op.Synchronisation, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .barrierSync(let id): return namedBarrier(id, waits: true, i, warp)
    case .barrierArrive(let id): return namedBarrier(id, waits: false, i, warp)
    case .mbarrierInit(let offset): initialise(offset, i, warp)
    case .mbarrierInvalidate(let offset):
      withBarrier(i, offset: offset, space: .shared, warp) { barrier, _, _ in barrier = nil }
    case .mbarrierArrive(let arrive):
      withBarrier(i, offset: arrive.offset, space: arrive.space, warp) { barrier, lane, _ in
        self.arrive(&barrier, count: arrive.count, arrive, warp, lane)
      }
      nextEpoch(warp)
    case .mbarrierArriveExpect(let arrive):
      withBarrier(i, offset: arrive.offset, space: arrive.space, warp) { barrier, lane, _ in
        barrier?.transactions += Int(warp.get32(i.inputs[1], lane))
        self.arrive(&barrier, count: 1, arrive, warp, lane)
      }
      nextEpoch(warp)
    case .mbarrierExpect(let arrive):
      withBarrier(i, offset: arrive.offset, space: arrive.space, warp) { barrier, lane, _ in
        barrier?.transactions += Int(warp.get32(i.inputs[1], lane))
      }
    case .mbarrierWait(let wait): return self.wait(wait, i, warp)
    case .mbarrierTest(let wait):
      withBarrier(i, offset: wait.offset, space: .shared, warp) { barrier, lane, _ in
        let passes = barrier?.passes(parity: Int(warp.get32(i.inputs[1], lane))) ?? true
        if passes, let barrier { warp.clock.merge(barrier.completed) }
        warp.set(i.outputs[0], lane, passes ? 1 : 0)
      }
    case .fence(let kind): fence(kind, warp)
    case .clusterArrive(let ordering): clusterArrive(ordering, warp)
    case .clusterWait: return clusterWait(warp)
    // The preceding launch has ended: simulated ones run one after another.
    case .gridDependencyWait:
      if overlapsPredecessor {
        warp.block.dependencyWaits.append((warp.agent, warp.mask, warp.epoch))
        nextEpoch(warp)
      }
    case .gridDependencyLaunch: break
    }
    return .next
  }

  // MARK: - Named barriers

  private func namedBarrier(
    _ id: NamedBarrierID, waits: Bool, _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    guard checkCollective(.max, warp) else { return .next }
    warp.forgetGlobalReads()
    let entry = kernel.barriers[id.index]
    let index = i.inputs.isEmpty ? 0 : Int(uniform(i.inputs[0], warp))
    let number = entry.firstID + index
    guard index < entry.count, number >= 0, number < 16 else {
      report(
        .barrier("index of \(entry.name) must be below \(entry.count); found \(index)"), warp,
        lanes: warp.mask)
      return .next
    }
    let block = warp.block
    if let phase = warp.arrivedPhase {
      guard block.named[number].phase > phase else { return .wait }
      warp.arrivedPhase = nil
      warp.clock.merge(block.named[number].completed)
      return .next
    }
    if block.named[number].arrivedThreads > 0, block.named[number].expected != entry.threads {
      report(
        .barrier(
          "all must name one thread count for barrier \(number); found \(entry.threads) and "
            + "\(block.named[number].expected)"), warp, lanes: warp.mask)
    }
    let phase = block.named[number].phase
    block.named[number].expected = entry.threads
    block.named[number].arrivedThreads += warpSize
    release(warp, lanes: .max, into: &block.named[number].clock)
    if block.named[number].arrivedThreads > entry.threads {
      report(
        .barrier("at most \(entry.threads) threads may arrive at \(entry.name) in a phase"), warp,
        lanes: warp.mask)
    }
    if block.named[number].arrivedThreads >= entry.threads {
      block.named[number].completed = block.named[number].clock
      block.named[number].arrivedThreads = 0
      block.named[number].phase += 1
      progress += 1
      if waits { warp.clock.merge(block.named[number].completed) }
      return .next
    }
    if waits { warp.arrivedPhase = phase }
    return waits ? .wait : .next
  }

  // MARK: - Mbarriers

  private func initialise(_ offset: Int, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let count = Int(warp.get32(i.inputs[1], lane))
      let lanes = UInt32(1) << UInt32(lane)
      guard (1..<1 << 20).contains(count) else {
        report(
          .invalidOperand("mbarrier count must be in 1…1048575; found \(count)"), warp,
          lanes: lanes)
        return
      }
      let address = UInt32(truncatingIfNeeded: address(i.inputs[0], lane, offset: offset, warp))
      guard
        let place = sharedPlace(
          address, .shared, byteCount: 8, alignment: 8, warp, lanes: lanes)
      else { return }
      noteWrite(place, warp, lanes: lanes)
      // The object is opaque: reading it as data is an error.
      place.shadow.pointee.write(
        place.start, 8,
        Stamp(
          epoch: warp.epoch, agent: warp.agent, lane: UInt32(lane), instruction: warp.pc,
          isWritten: false))
      place.shared.barriers[place.start] = MBarrier(
        count: count, agent: warp.agent, lane: UInt32(lane), epoch: warp.epoch,
        agentCount: agentCount)
    }
  }

  /// Calls `body` with the barrier that each active lane names.
  private func withBarrier(
    _ i: Code.Instruction, offset: Int, space: Op.MemorySpace, _ warp: Warp,
    _ body: (inout MBarrier?, Int, SharedPlace) -> Void
  ) {
    warp.forEachLane { lane in
      let address = UInt32(truncatingIfNeeded: address(i.inputs[0], lane, offset: offset, warp))
      guard let place = barrierPlace(address, space, warp, lane) else { return }
      noteRemoteUse(place, warp, lane)
      body(&place.shared.barriers[place.start], lane, place)
      settle(place)
    }
  }

  /// Completes the phase if nothing is pending.
  func settle(_ place: SharedPlace) {
    if place.shared.barriers[place.start]?.completeIfDone() == true { progress += 1 }
  }

  /// The initialised barrier at an address; reports everything else.
  func barrierPlace(
    _ address: UInt32, _ space: Op.MemorySpace, _ warp: Warp, _ lane: Int
  ) -> SharedPlace? {
    let lanes = UInt32(1) << UInt32(lane)
    guard
      let place = sharedPlace(address, space, byteCount: 8, alignment: 8, warp, lanes: lanes)
    else { return nil }
    guard let barrier = place.shared.barriers[place.start] else {
      report(
        .barrier("an mbarrier must be initialised before its use; found none at \(address)"), warp,
        lanes: lanes)
      return nil
    }
    if barrier.initAgent != warp.agent || barrier.initLane != UInt32(lane),
      !warp.clock[barrier.initAgent].covers(barrier.initEpoch, lane: barrier.initLane)
    {
      report(
        .race(
          address: UInt64(address), otherWarp: barrier.initAgent % warpCount,
          otherLocation: location(place.shadow.pointee.stamp(place.start).instruction)), warp,
        lanes: lanes)
      return nil
    }
    if place.shadow != warp.shadow, !barrier.isFenced {
      report(
        .barrier("fence(.mbarrierInit) must follow the init before remote use"), warp, lanes: lanes)
    }
    return place
  }

  private func arrive(
    _ barrier: inout MBarrier?, count: Int, _ how: Op.MBarrierArrive, _ warp: Warp, _ lane: Int
  ) {
    guard barrier != nil else { return }
    barrier?.pending -= count
    if let pending = barrier?.pending, pending < 0 {
      report(
        .barrier("arrivals of a phase must not exceed the count; found \(-pending) too many"), warp,
        lanes: 1 << UInt32(lane))
      barrier?.pending = 0
    }
    if how.ordering == .relaxed {
      if let clock = warp.fenced?.own(warp.block.cluster.index) { barrier?.arriving.merge(clock) }
    } else {
      barrier?.arriving.merge(warp.clock)
      barrier?.arriving.merge(
        Knowledge(lanes: 1 << UInt32(lane), through: warp.epoch), of: warp.agent)
    }
  }

  private func wait(_ wait: Op.MBarrierWait, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    var isBlocked = false
    func test(_ lane: Int) {
      let address = UInt32(
        truncatingIfNeeded: address(i.inputs[0], lane, offset: wait.offset, warp))
      let parity = Int(warp.get32(i.inputs[1], lane))
      if parity > 1 {
        report(
          .invalidOperand("parity must be 0 or 1; found \(parity)"), warp,
          lanes: 1 << UInt32(lane))
      }
      guard let place = barrierPlace(address, .shared, warp, lane),
        let index = place.shared.barriers.index(forKey: place.start)
      else { return }
      if !place.shared.barriers.values[index].passes(parity: parity & 1) {
        isBlocked = true
      } else {
        warp.clock.merge(place.shared.barriers.values[index].completed)
      }
    }
    if isSame(i.inputs[0], warp), isSame(i.inputs[1], warp) {
      if warp.mask != 0 { test(warp.mask.trailingZeroBitCount) }
    } else {
      warp.forEachLane { test($0) }
    }
    return isBlocked ? .wait : .next
  }

  /// Whether all active lanes hold one pattern of up to 32 bits.
  private func isSame(_ slot: Code.Slot, _ warp: Warp) -> Bool {
    let words = warp.words(slot)
    let first = words[warp.mask.trailingZeroBitCount & 31]
    var differing: UInt32 = 0
    warp.forEachLane { differing |= words[$0] ^ first }
    return differing == 0
  }

  // MARK: - Fences

  private func fence(_ kind: Op.FenceKind, _ warp: Warp) {
    switch kind {
    case .acquireRelease, .sequential:
      let cluster = warp.block.cluster.index
      for found in warp.observed { found.acquire(warp.clock, cluster: cluster) }
      warp.observed.removeAll()
      var clock = VectorClock(count: agentCount)
      release(warp, lanes: warp.mask, into: &clock)
      warp.fenced = Publication(clock, cluster: cluster)
    case .proxyAsync(let space):
      warp.fences.append((warp.epoch, warp.mask, space))
      if warp.fences.count > 128 { warp.fences.removeFirst(64) }
      nextEpoch(warp)
    case .mbarrierInit:
      let shared = warp.block.shared
      for (start, barrier) in shared.barriers where barrier.initAgent == warp.agent {
        shared.barriers[start]?.isFenced = true
      }
    }
  }

  // MARK: - Cluster barrier

  private func clusterArrive(_ ordering: Op.AtomicOrdering, _ warp: Warp) {
    guard checkCollective(.max, warp) else { return }
    warp.forgetGlobalReads()
    let cluster = warp.block.cluster
    if warp.clusterPhase != nil || !cluster.arrived.insert(warp.agent).inserted {
      report(
        .barrier("a warp must wait for the cluster between two arrivals"), warp, lanes: warp.mask)
      return
    }
    warp.clusterPhase = cluster.phase
    if ordering == .release || ordering == .acquireRelease {
      release(warp, lanes: .max, into: &cluster.clock)
    }
    completeClusterBarrier(cluster)
  }

  /// Starts the next phase when every warp has arrived or ended.
  func completeClusterBarrier(_ cluster: Cluster) {
    guard !cluster.arrived.isEmpty,
      cluster.blocks.allSatisfy({ block in
        block.warps.allSatisfy { $0.isFinished || cluster.arrived.contains($0.agent) }
      })
    else { return }
    cluster.arrived.removeAll()
    cluster.completed = cluster.clock
    cluster.phase += 1
    progress += 1
  }

  private func clusterWait(_ warp: Warp) -> Outcome {
    guard checkCollective(.max, warp) else { return .next }
    let cluster = warp.block.cluster
    guard let phase = warp.clusterPhase else {
      report(.barrier("clusterWait must follow a clusterArrive"), warp, lanes: warp.mask)
      return .next
    }
    guard cluster.phase > phase else { return .wait }
    warp.clusterPhase = nil
    warp.clock.merge(cluster.completed)
    return .next
  }
}
