import ApusIR

/// Bulk and tensor copies into shared memory: issued here, arriving in `completeRandomCopy`.
extension Machine {
  func bulkLoad(_ access: Op.BulkAccess, _ i: Program.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let source = address(i.inputs[1], lane, offset: access.sourceOffset, warp)
      let count = Int(warp.get32(i.inputs[2], lane))
      guard let data = globalBytes(source, count, warp, lanes: lanes) else { return }
      deliver(
        data, to: shared32(i.inputs[0], lane, access.destinationOffset, warp),
        signal: shared32(i.inputs[3], lane, access.barrierOffset, warp),
        mask: access.isMulticast ? warp.get32(i.inputs[4], lane) : nil, warp, lane)
    }
  }

  func tensorLoad(_ access: Op.TensorAccess, _ i: Program.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let count = access.dimensions
      guard let map = tensorMap(warp.get(i.inputs[1], lane), rank: count, warp, lane) else {
        return
      }
      let corner = (0..<count).map { Int(Int32(bitPattern: warp.get32(i.inputs[2 + $0], lane))) }
      guard let box = readBox(map, corner, warp, lane) else { return }
      let destination = shared32(i.inputs[0], lane, access.sharedOffset, warp)
      let alignment = map.swizzle == .none ? 128 : map.swizzle.atomBytes
      if Int(destination) % alignment != 0 {
        report(
          .misaligned(.shared, address: UInt64(destination), alignment: alignment), warp,
          lanes: 1 << UInt32(lane))
        return
      }
      // The swizzle is a function of address bits, and the destination starts an atom: permuting
      // offsets within the box is permuting addresses.
      var data = box
      for offset in box.indices { data[map.swizzle.apply(offset)] = box[offset] }
      deliver(
        data, to: destination,
        signal: shared32(i.inputs[2 + count], lane, access.barrierOffset, warp),
        mask: access.isMulticast ? warp.get32(i.inputs[3 + count], lane) : nil, warp, lane)
    }
  }

  /// Addresses of a box's elements in order, nil outside the tensor.
  func boxAddresses(_ map: TensorMapDescription, _ corner: [Int]) -> [UInt64?] {
    (0..<map.box.reduce(1, *)).map { element in
      var rest = element
      var address = map.address
      for dimension in map.sizes.indices {
        let position = corner[dimension] + rest % map.box[dimension]
        rest /= map.box[dimension]
        guard position >= 0, position < map.sizes[dimension] else { return nil }
        let stride = dimension == 0 ? map.elementByteCount : map.strides[dimension - 1]
        address &+= UInt64(position * stride)
      }
      return address
    }
  }

  /// Bytes of one box in order, zeros outside the tensor.
  private func readBox(
    _ map: TensorMapDescription, _ corner: [Int], _ warp: Warp, _ lane: Int
  ) -> [UInt8]? {
    let size = map.elementByteCount
    let addresses = boxAddresses(map, corner)
    var data = [UInt8](repeating: 0, count: addresses.count * size)
    for (element, address) in addresses.enumerated() {
      guard let address else { continue }
      guard
        let place = globalPlace(
          address, byteCount: size, alignment: size, warp, lanes: 1 << UInt32(lane))
      else { return nil }
      if !memory.isWritten(place, byteCount: size) {
        report(
          .uninitialisedRead(.global, address: address), warp, lanes: 1 << UInt32(lane))
      }
      for byte in 0..<size {
        data[element * size + byte] = memory.buffers[place.buffer].bytes[place.offset + byte]
      }
    }
    return data
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
    _ slot: Program.Slot, _ lane: Int, _ offset: Int, _ warp: Warp
  ) -> UInt32 {
    UInt32(truncatingIfNeeded: address(slot, lane, offset: offset, warp))
  }

  private func globalBytes(
    _ address: UInt64, _ count: Int, _ warp: Warp, lanes: UInt32
  ) -> [UInt8]? {
    guard count > 0, count % 16 == 0 else {
      report(
        .invalidOperand("bulk copies move a positive multiple of 16 bytes; found \(count)"), warp,
        lanes: lanes)
      return nil
    }
    guard
      let place = globalPlace(address, byteCount: count, alignment: 16, warp, lanes: lanes)
    else { return nil }
    if !memory.isWritten(place, byteCount: count) {
      report(.uninitialisedRead(.global, address: address), warp, lanes: lanes)
    }
    return Array(memory.buffers[place.buffer].bytes[place.offset..<place.offset + count])
  }

  /// Marks the destinations as arriving and puts the copy in flight.
  private func deliver(
    _ data: [UInt8], to destination: UInt32, signal: UInt32, mask: UInt32?, _ warp: Warp,
    _ lane: Int
  ) {
    let lanes = UInt32(1) << UInt32(lane)
    let window: UInt32 = 1 << Self.windowBits - 1
    let ranks = mask.map { mask in (0..<16).filter { mask >> UInt32($0) & 1 == 1 } }
    var copy = InFlightCopy(
      targets: [], signals: [], cluster: warp.block.cluster, instruction: warp.pc)
    for rank in ranks ?? [warp.block.rank] {
      let base = UInt32(rank) << Self.windowBits
      guard
        let place = sharedPlace(
          destination & window | base, .sharedCluster, byteCount: data.count, alignment: 16, warp,
          lanes: lanes),
        let barrier = barrierPlace(signal & window | base, .sharedCluster, warp, lane),
        checkWritable(place, warp, lanes: lanes), checkProxyFence(place, warp, lanes: lanes)
      else { return }
      if barrier.shared.barriers[barrier.start]?.isFenced == false {
        report(
          .barrier("fence(.mbarrierInit) must follow the init before asynchronous use"), warp,
          lanes: lanes)
      }
      copy.targets.append((place, data))
      copy.signals.append((barrier, data.count))
    }
    for (place, _) in copy.targets {
      for byte in place.start..<place.start + data.count {
        place.shared.flags[byte].insert(.arriving)
      }
    }
    inFlight.append(copy)
  }
}
