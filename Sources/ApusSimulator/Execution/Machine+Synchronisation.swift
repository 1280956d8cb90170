import ApusIR

extension Machine {
  func execute(_ op: Op.Synchronisation, _ i: Program.Instruction, _ warp: Warp) -> Outcome {
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
    case .mbarrierArriveExpect(let arrive):
      withBarrier(i, offset: arrive.offset, space: arrive.space, warp) { barrier, lane, _ in
        barrier?.transactions += Int(warp.get32(i.inputs[1], lane))
        self.arrive(&barrier, count: 1, arrive, warp, lane)
      }
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
    // A simulated launch depends on nothing, and nothing depends on it.
    case .gridDependencyWait, .gridDependencyLaunch: break
    }
    return .next
  }

  // MARK: - Named barriers

  private func namedBarrier(
    _ id: NamedBarrierID, waits: Bool, _ i: Program.Instruction, _ warp: Warp
  ) -> Outcome {
    guard checkCollective(.max, warp) else { return .next }
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
    release(warp, into: &block.named[number].clock)
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

  private func initialise(_ offset: Int, _ i: Program.Instruction, _ warp: Warp) {
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
      for byte in place.start..<place.start + 8 { place.shared.flags[byte] = [] }
      place.shared.barriers[place.start] = MBarrier(
        count: count, agent: warp.agent, clock: warp.clock)
    }
  }

  /// Calls `body` with the barrier that each active lane names.
  private func withBarrier(
    _ i: Program.Instruction, offset: Int, space: Op.MemorySpace, _ warp: Warp,
    _ body: (inout MBarrier?, Int, SharedPlace) -> Void
  ) {
    warp.forEachLane { lane in
      let address = UInt32(truncatingIfNeeded: address(i.inputs[0], lane, offset: offset, warp))
      guard let place = barrierPlace(address, space, warp, lane) else { return }
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
    if barrier.initAgent != warp.agent, barrier.initEpoch > warp.clock[barrier.initAgent] {
      report(
        .race(
          address: UInt64(address), otherWarp: barrier.initAgent % warpCount,
          otherLocation: location(place.shared.writerInstruction[place.start])), warp, lanes: lanes)
      return nil
    }
    if place.shared !== warp.block.shared, !barrier.isFenced {
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
      if let clock = warp.fencedClock { barrier?.arriving.merge(clock) }
    } else {
      barrier?.arriving.merge(warp.clock)
      warp.clock[warp.agent] += 1
    }
  }

  private func wait(_ wait: Op.MBarrierWait, _ i: Program.Instruction, _ warp: Warp) -> Outcome {
    var isBlocked = false
    withBarrier(i, offset: wait.offset, space: .shared, warp) { barrier, lane, _ in
      let parity = Int(warp.get32(i.inputs[1], lane))
      if parity > 1 {
        self.report(
          .invalidOperand("parity must be 0 or 1; found \(parity)"), warp,
          lanes: 1 << UInt32(lane))
      }
      guard let barrier else { return }
      if !barrier.passes(parity: parity & 1) {
        isBlocked = true
      } else {
        warp.clock.merge(barrier.completed)
      }
    }
    return isBlocked ? .wait : .next
  }

  // MARK: - Fences

  private func fence(_ kind: Op.FenceKind, _ warp: Warp) {
    switch kind {
    case .acquireRelease, .sequential:
      for clock in warp.observed { warp.clock.merge(clock) }
      warp.observed.removeAll()
      warp.fencedClock = warp.clock
      warp.clock[warp.agent] += 1
    case .proxyAsync(let space):
      if space != .global { warp.proxyFence = writeSequence }
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
    let cluster = warp.block.cluster
    if warp.clusterPhase != nil || !cluster.arrived.insert(warp.agent).inserted {
      report(
        .barrier("a warp must wait for the cluster between two arrivals"), warp, lanes: warp.mask)
      return
    }
    warp.clusterPhase = cluster.phase
    if ordering == .release || ordering == .acquireRelease {
      release(warp, into: &cluster.clock)
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
