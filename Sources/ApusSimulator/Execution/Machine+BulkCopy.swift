import ApusIR

/// Bulk and tensor copies into shared memory: issued here, arriving in `completeRandomCopy`.
extension Machine {
  func bulkLoad(_ access: Op.BulkAccess, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let source = address(i.inputs[1], lane, offset: access.sourceOffset, warp)
      guard let count = bulkByteCount(i.inputs[2], lane, warp),
        let place = readableBytes(
          source, byteCount: count, alignment: 16, warp, lanes: lanes, as: .asyncProxy)
      else { return }
      let data = Array(UnsafeBufferPointer(start: place.bytes, count: count))
      deliver(
        data, to: shared32(i.inputs[0], lane, access.destinationOffset, warp),
        signal: shared32(i.inputs[3], lane, access.barrierOffset, warp),
        mask: access.isMulticast ? warp.get32(i.inputs[4], lane) : nil, warp, lane)
    }
  }

  /// The positive multiple of 16 in an operand.
  func bulkByteCount(_ slot: Code.Slot, _ lane: Int, _ warp: Warp) -> Int? {
    let count = Int(warp.get32(slot, lane))
    if count > 0, count % 16 == 0 { return count }
    report(
      .invalidOperand("bulk copies move a positive multiple of 16 bytes; found \(count)"), warp,
      lanes: 1 << UInt32(lane))
    return nil
  }

  func tensorLoad(_ access: Op.TensorAccess, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let count = access.dimensions
      guard let map = tensorMap(warp.get(i.inputs[1], lane), rank: count, warp, lane) else {
        return
      }
      let corner = (0..<count).map { Int(Int32(bitPattern: warp.get32(i.inputs[2 + $0], lane))) }
      guard let data = readBox(TensorBox(map: map, corner: corner), warp, lane) else { return }
      let destination = shared32(i.inputs[0], lane, access.sharedOffset, warp)
      let alignment = map.swizzle == .none ? 128 : map.swizzle.atomBytes
      if Int(destination) % alignment != 0 {
        report(
          .misaligned(.shared, address: UInt64(destination), alignment: alignment), warp,
          lanes: 1 << UInt32(lane))
        return
      }
      deliver(
        data, to: destination,
        signal: shared32(i.inputs[2 + count], lane, access.barrierOffset, warp),
        mask: access.isMulticast ? warp.get32(i.inputs[3 + count], lane) : nil, warp, lane)
    }
  }

  /// Bytes of one box as they lie in shared memory, zeros outside the tensor.
  private func readBox(_ box: TensorBox, _ warp: Warp, _ lane: Int) -> [UInt8]? {
    var data = [UInt8](repeating: 0, count: box.byteCount)
    let size = box.map.elementByteCount
    var isSound = true
    data.withUnsafeMutableBytes { data in
      guard let base = data.baseAddress else { return }
      box.forEachRun { address, offset, byteCount in
        guard
          let place = readableBytes(
            address, byteCount: byteCount, alignment: size, warp, lanes: 1 << UInt32(lane),
            as: .asyncProxy)
        else {
          isSound = false
          return false
        }
        box.forEachPiece(offset, byteCount) { logical, physical, count in
          (base + physical).copyMemory(from: place.bytes + (logical - offset), byteCount: count)
        }
        return true
      }
    }
    return isSound ? data : nil
  }

  /// The tensor map argument at an address, if it is whole.
  func tensorMap(
    _ address: UInt64, rank: Int, _ warp: Warp, _ lane: Int
  ) -> TensorMapDescription? {
    let index = Int(exactly: (address &- Self.argumentBase) >> 16) ?? arguments.count
    let isStart = address & 0xFFFF == 0
    if isStart, index < arguments.count, case .tensorMap(let map) = arguments[index],
      map.sizes.count == rank, map.box.count == rank, map.strides.count == rank - 1,
      (map.box + map.sizes).allSatisfy({ $0 > 0 }), [1, 2, 4, 8].contains(map.elementByteCount),
      map.box.reduce(map.elementByteCount, *) % max(16, map.swizzle.rowBytes) == 0,
      map.swizzle == .none || map.box[0] * map.elementByteCount == map.swizzle.rowBytes
    {
      return map
    }
    report(
      .invalidOperand(
        "the address must be that of a tensor map of rank \(rank) with a box of whole rows"), warp,
      lanes: 1 << UInt32(lane))
    return nil
  }

  /// A shared address operand plus an immediate.
  func shared32(
    _ slot: Code.Slot, _ lane: Int, _ offset: Int, _ warp: Warp
  ) -> UInt32 {
    UInt32(truncatingIfNeeded: address(slot, lane, offset: offset, warp))
  }

  /// Marks the destinations as arriving and puts the copy in flight.
  private func deliver(
    _ data: [UInt8], to destination: UInt32, signal: UInt32, mask: UInt32?, _ warp: Warp,
    _ lane: Int
  ) {
    let window: UInt32 = 1 << Self.windowBits - 1
    let ranks = mask.map { mask in (0..<16).filter { mask >> UInt32($0) & 1 == 1 } }
    var copy = InFlightCopy(cluster: warp.block.cluster, instruction: warp.pc)
    for rank in ranks ?? [warp.block.rank] {
      let base = UInt32(rank) << Self.windowBits
      guard
        aim(
          &copy, data, at: destination & window | base, signal: signal & window | base,
          alignment: 16, isAsyncProxy: true, warp, lane)
      else { return }
    }
    launch(copy)
  }

  /// Adds a destination and its barrier to a copy; false: reported.
  private func aim(
    _ copy: inout InFlightCopy, _ data: [UInt8], at destination: UInt32, signal: UInt32,
    alignment: Int, isAsyncProxy: Bool, _ warp: Warp, _ lane: Int
  ) -> Bool {
    let lanes = UInt32(1) << UInt32(lane)
    guard
      let place = sharedPlace(
        destination, .sharedCluster, byteCount: data.count, alignment: alignment, warp,
        lanes: lanes),
      let barrier = barrierPlace(signal, .sharedCluster, warp, lane),
      checkWritable(place, warp, lanes: lanes),
      !isAsyncProxy || checkProxyFence(place, warp, lanes: lanes)
    else { return false }
    if barrier.shared.barriers[barrier.start]?.isFenced == false {
      report(
        .barrier("fence(.mbarrierInit) must follow the init before asynchronous use"), warp,
        lanes: lanes)
    }
    copy.targets.append((place, data))
    copy.signals.append((barrier, data.count))
    return true
  }

  private func launch(_ copy: InFlightCopy) {
    for (place, _) in copy.targets { setArriving(place, true) }
    for source in copy.sources { lockSource(source, true) }
    inFlight.append(copy)
  }

  // MARK: - Within the cluster

  func copyToCluster(_ access: Op.BulkAccess, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      guard let count = bulkByteCount(i.inputs[2], lane, warp),
        let source = asyncSource(
          shared32(i.inputs[1], lane, access.sourceOffset, warp), byteCount: count, alignment: 16,
          warp, lanes: lanes)
      else { return }
      let data = Array(UnsafeBufferPointer(start: source.bytes, count: count))
      var copy = InFlightCopy(
        sources: [source], cluster: warp.block.cluster, instruction: warp.pc)
      guard
        aim(
          &copy, data, at: shared32(i.inputs[0], lane, access.destinationOffset, warp),
          signal: shared32(i.inputs[3], lane, access.barrierOffset, warp), alignment: 16,
          isAsyncProxy: true, warp, lane), isSameBlock(copy, warp, lane)
      else { return }
      launch(copy)
    }
  }

  func storeAsync(_ offset: Int, _ barrierOffset: Int, _ i: Code.Instruction, _ warp: Warp) {
    let count = i.inputs.count - 2
    let size = i.inputs[1].is64 ? 8 : 4
    warp.forEachLane { lane in
      var data: [UInt8] = []
      for element in 0..<count {
        let bits = warp.get(i.inputs[1 + element], lane)
        for byte in 0..<size { data.append(UInt8(truncatingIfNeeded: bits >> UInt64(8 * byte))) }
      }
      var copy = InFlightCopy(cluster: warp.block.cluster, instruction: warp.pc)
      guard
        aim(
          &copy, data, at: shared32(i.inputs[0], lane, offset, warp),
          signal: shared32(i.inputs[1 + count], lane, barrierOffset, warp),
          alignment: data.count, isAsyncProxy: false, warp, lane), isSameBlock(copy, warp, lane)
      else { return }
      launch(copy)
    }
  }

  private func isSameBlock(_ copy: InFlightCopy, _ warp: Warp, _ lane: Int) -> Bool {
    guard let target = copy.targets.first, let signal = copy.signals.first,
      target.place.shared !== signal.place.shared
    else { return true }
    report(
      .invalidOperand("the barrier must be in the block of the destination"), warp,
      lanes: 1 << UInt32(lane))
    return false
  }
}
