import ApusIR

/// A copy of the async proxy between its issue and its arrival.
struct InFlightCopy {
  /// Where the bytes go, with what they are.
  var targets: [(place: Machine.SharedPlace, data: [UInt8])] = []
  /// Barriers to signal, each with the bytes it is told; −1 for an arrival.
  var signals: [(place: Machine.SharedPlace, byteCount: Int)] = []
  /// Shared bytes that it reads.
  var sources: [Machine.SharedPlace] = []
  var cluster: Cluster
  var instruction: Int
}

extension Machine {
  func execute(_ op: Op.Copy, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .async(let copy): issue(copy, i, warp)
    case .asyncCommit:
      warp.forEachLane { lane in
        warp.groups[lane].append(warp.openCopies[lane])
        warp.openCopies[lane] = []
      }
    case .asyncWait(let pending):
      warp.forEachLane { lane in
        while warp.groups[lane].count > pending {
          for copy in shuffled(warp.groups[lane].removeFirst()) { perform(copy, warp, lane) }
        }
      }
    case .asyncArrive(let offset, let isCounted):
      return arriveAfterCopies(offset, isCounted, i, warp)
    case .bulkPrefetch, .tensorPrefetch, .prefetchTensorMap: break
    case .bulkLoad(let access): bulkLoad(access, i, warp)
    case .tensorLoad(let access): tensorLoad(access, i, warp)
    case .bulkCopyToCluster(let access): copyToCluster(access, i, warp)
    case .storeAsync(let offset, let barrierOffset):
      storeAsync(offset, barrierOffset, i, warp)
    case .bulkStore(let access): bulkStore(access, i, warp)
    case .tensorStore(let access, let reduction): tensorStore(access, reduction, i, warp)
    case .bulkCommit:
      warp.forEachLane { lane in
        warp.bulkGroups[lane].append(warp.openBulk[lane])
        warp.openBulk[lane] = []
      }
    case .bulkWait(let pending, let isReadOnly):
      waitForStores(pending, isReadOnly: isReadOnly, warp)
    }
    return .next
  }

  // MARK: - cp.async

  private func issue(_ copy: Op.AsyncCopy, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let count = copy.byteCount
      let destination = UInt32(
        truncatingIfNeeded: address(i.inputs[0], lane, offset: copy.destinationOffset, warp))
      let source = address(i.inputs[1], lane, offset: copy.sourceOffset, warp)
      let readCount = copy.hasSourceSize ? Int(warp.get32(i.inputs[2], lane)) : count
      guard readCount <= count else {
        report(
          .invalidOperand("source bytes must be at most \(count); found \(readCount)"), warp,
          lanes: lanes)
        return
      }
      guard
        let place = sharedPlace(
          destination, .shared, byteCount: count, alignment: count, warp, lanes: lanes)
      else { return }
      var data = SIMD16<UInt8>(repeating: 0)
      if readCount > 0 {
        guard
          let from = readableBytes(
            source, byteCount: readCount, alignment: count, warp, lanes: lanes)
        else { return }
        withUnsafeMutableBytes(of: &data) {
          $0.copyMemory(from: UnsafeRawBufferPointer(start: from.bytes, count: readCount))
        }
      }
      guard checkWritable(place, warp, lanes: lanes) else { return }
      setArriving(place, true)
      warp.openCopies[lane].append(
        Warp.PendingCopy(
          destination: place.start, byteCount: count, data: data, instruction: warp.pc))
    }
  }

  /// The copy's bytes arrive: from here on they count as written by the lane that waited.
  private func perform(_ copy: Warp.PendingCopy, _ warp: Warp, _ lane: Int) {
    let place = place(copy, warp)
    withUnsafeBytes(of: copy.data) { fill(place, $0) }
    setArriving(place, false)
    place.shadow.pointee.write(
      place.start, place.byteCount,
      Stamp(
        epoch: warp.epoch, agent: warp.agent, lane: UInt32(lane), instruction: copy.instruction))
  }

  private func place(_ copy: Warp.PendingCopy, _ warp: Warp) -> SharedPlace {
    SharedPlace(
      shadow: warp.shadow, start: copy.destination, byteCount: copy.byteCount,
      address: UInt32(SharedMemory.base + copy.destination))
  }

  private func fill(_ place: SharedPlace, _ data: UnsafeRawBufferPointer) {
    UnsafeMutableRawBufferPointer(start: place.bytes, count: place.byteCount)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: data[..<place.byteCount]))
  }

  private func shuffled<Element>(_ elements: [Element]) -> [Element] {
    var result = elements
    for last in stride(from: result.count - 1, to: 0, by: -1) {
      result.swapAt(last, Int(random.next() % UInt64(last + 1)))
    }
    return result
  }

  /// `asyncArrive`: the lane's earlier copies become one in-flight arrival on the barrier.
  private func arriveAfterCopies(
    _ offset: Int, _ isCounted: Bool, _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    warp.forEachLane { lane in
      let address = UInt32(truncatingIfNeeded: address(i.inputs[0], lane, offset: offset, warp))
      guard let barrier = barrierPlace(address, .shared, warp, lane) else { return }
      if !isCounted { barrier.shared.barriers[barrier.start]?.pending += 1 }
      let copies = warp.groups[lane].flatMap { $0 } + warp.openCopies[lane]
      warp.groups[lane] = warp.groups[lane].map { _ in [] }
      warp.openCopies[lane] = []
      inFlight.append(
        InFlightCopy(
          targets: copies.map { copy in
            (place(copy, warp), withUnsafeBytes(of: copy.data) { Array($0) })
          }, signals: [(barrier, -1)],
          cluster: warp.block.cluster, instruction: warp.pc))
    }
    return .next
  }

  // MARK: - Arrival

  /// One in-flight copy, chosen by the seed, arrives and signals its barriers.
  func completeRandomCopy() {
    let copy = inFlight.remove(at: Int(random.next() % UInt64(inFlight.count)))
    let cluster = copy.cluster
    cluster.asyncEpoch += 1
    let stamp = Stamp(
      epoch: cluster.asyncEpoch, agent: asyncAgent, lane: Knowledge.wholeWarp,
      instruction: copy.instruction)
    for (place, data) in copy.targets {
      data.withUnsafeBytes { fill(place, $0) }
      setArriving(place, false)
      place.shadow.pointee.write(place.start, place.byteCount, stamp)
    }
    for source in copy.sources { lockSource(source, false) }
    for (place, byteCount) in copy.signals {
      guard place.shared.barriers[place.start] != nil else { continue }
      place.shared.barriers[place.start]?.arriving.merge(
        Knowledge(before: cluster.asyncEpoch + 1), of: asyncAgent)
      if byteCount < 0 {
        place.shared.barriers[place.start]?.pending -= 1
      } else {
        place.shared.barriers[place.start]?.transactions -= byteCount
      }
      settle(place)
    }
    progress += 1
  }
}
