import ApusIR

/// A copy of the async proxy between its issue and its arrival.
struct InFlightCopy {
  /// Where the bytes go, with what they are.
  var targets: [(place: Machine.SharedPlace, data: [UInt8])]
  /// Barriers to signal, each with the bytes it is told.
  var signals: [(place: Machine.SharedPlace, byteCount: Int)]
  var cluster: Cluster
  var instruction: Int
}

extension Machine {
  func execute(_ op: Op.Copy, _ i: Program.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .async(let copy): issue(copy, i, warp)
    case .asyncCommit:
      warp.forEachLane { lane in
        let mine = warp.openCopies.filter { $0.lane == lane }.map(\.copy)
        warp.groups[lane].append(mine)
      }
      warp.openCopies.removeAll { warp.mask >> UInt32($0.lane) & 1 == 1 }
    case .asyncWait(let pending):
      warp.forEachLane { lane in
        while warp.groups[lane].count > pending {
          for copy in shuffled(warp.groups[lane].removeFirst()) { perform(copy, warp) }
        }
      }
    case .asyncArrive(let offset, let isCounted):
      return arriveAfterCopies(offset, isCounted, i, warp)
    case .bulkPrefetch, .tensorPrefetch, .prefetchTensorMap: break
    case .bulkLoad(let access): bulkLoad(access, i, warp)
    case .tensorLoad(let access): tensorLoad(access, i, warp)
    case .bulkStore(let access): bulkStore(access, i, warp)
    case .tensorStore(let access, nil): tensorStore(access, i, warp)
    case .bulkCommit:
      warp.forEachLane { lane in
        warp.bulkGroups[lane].append(warp.openBulk[lane])
        warp.openBulk[lane] = []
      }
    case .bulkWait(let pending, _): waitForStores(pending, warp)
    case .bulkCopyToCluster, .tensorStore, .storeAsync:
      return unsupported(warp)
    }
    return .next
  }

  // MARK: - cp.async

  private func issue(_ copy: Op.AsyncCopy, _ i: Program.Instruction, _ warp: Warp) {
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
      var data = [UInt8](repeating: 0, count: count)
      if readCount > 0 {
        guard
          let from = globalPlace(
            source, byteCount: readCount, alignment: count, warp, lanes: lanes)
        else { return }
        if !memory.isWritten(from, byteCount: readCount) {
          report(.uninitialisedRead(.global, address: source), warp, lanes: lanes)
        }
        for byte in 0..<readCount {
          data[byte] = memory.buffers[from.buffer].bytes[from.offset + byte]
        }
      }
      guard checkWritable(place, warp, lanes: lanes) else { return }
      for byte in place.start..<place.start + count { place.shared.flags[byte].insert(.arriving) }
      warp.openCopies.append(
        (
          lane,
          Warp.PendingCopy(
            destination: place.start, byteCount: count, data: data, instruction: warp.pc)
        ))
    }
  }

  /// The copy's bytes arrive: from here on they count as written by the warp that waited.
  private func perform(_ copy: Warp.PendingCopy, _ warp: Warp) {
    let shared = warp.block.shared
    writeSequence += 1
    for (index, byte) in (copy.destination..<copy.destination + copy.byteCount).enumerated() {
      shared.bytes[byte] = copy.data[index]
      shared.flags[byte] = .written
      shared.writer[byte] = UInt16(warp.agent)
      shared.writerEpoch[byte] = warp.clock[warp.agent]
      shared.writerInstruction[byte] = Int32(copy.instruction)
      shared.writerSequence[byte] = writeSequence
    }
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
    _ offset: Int, _ isCounted: Bool, _ i: Program.Instruction, _ warp: Warp
  ) -> Outcome {
    warp.forEachLane { lane in
      let address = UInt32(truncatingIfNeeded: address(i.inputs[0], lane, offset: offset, warp))
      guard let place = barrierPlace(address, .shared, warp, lane) else { return }
      if !isCounted { place.shared.barriers[place.start]?.pending += 1 }
      let copies =
        warp.groups[lane].flatMap { $0 }
        + warp.openCopies.filter { $0.lane == lane }.map(\.copy)
      warp.groups[lane] = warp.groups[lane].map { _ in [] }
      warp.openCopies.removeAll { $0.lane == lane }
      let targets = copies.map { copy in
        (
          SharedPlace(
            shared: warp.block.shared, start: copy.destination, byteCount: copy.byteCount,
            address: UInt32(SharedMemory.base + copy.destination)), copy.data
        )
      }
      inFlight.append(
        InFlightCopy(
          targets: targets, signals: [(place, -1)], cluster: warp.block.cluster,
          instruction: warp.pc))
    }
    return .next
  }

  // MARK: - Arrival

  /// One in-flight copy, chosen by the seed, arrives and signals its barriers.
  func completeRandomCopy() {
    let copy = inFlight.remove(at: Int(random.next() % UInt64(inFlight.count)))
    let cluster = copy.cluster
    cluster.asyncEpoch += 1
    writeSequence += 1
    for (place, data) in copy.targets {
      let shared = place.shared
      for (index, byte) in (place.start..<place.start + place.byteCount).enumerated() {
        shared.bytes[byte] = data[index]
        shared.flags[byte] = [.written, .byAsync]
        shared.writer[byte] = UInt16(asyncAgent)
        shared.writerEpoch[byte] = cluster.asyncEpoch
        shared.writerInstruction[byte] = Int32(copy.instruction)
        shared.writerSequence[byte] = writeSequence
      }
    }
    for (place, byteCount) in copy.signals {
      guard var barrier = place.shared.barriers[place.start] else { continue }
      barrier.arriving[asyncAgent] = max(barrier.arriving[asyncAgent], cluster.asyncEpoch)
      if byteCount < 0 { barrier.pending -= 1 } else { barrier.transactions -= byteCount }
      place.shared.barriers[place.start] = barrier
      settle(place)
    }
    progress += 1
  }
}
