import ApusIR

/// A bulk or tensor store that was issued and not waited for.
struct BulkStore {
  /// Shared bytes that must not be written until then.
  var source: Machine.SharedPlace
  /// Global bytes it writes.
  var writes: [(place: DeviceMemory.Place, data: [UInt8])]
  /// What the bytes are combined with instead of replacing the old ones.
  var reduction: (op: Op.ReductionOp, map: TensorMapDescription)?
}

/// Bulk and tensor stores to global memory.
///
/// The shared source is locked from the issue to the wait that covers the group, so its bytes are
/// the same whenever they are read; global memory changes at the wait, the latest allowed time.
extension Machine {
  func bulkStore(_ access: Op.BulkAccess, _ i: Code.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let destination = address(i.inputs[0], lane, offset: access.destinationOffset, warp)
      guard let count = bulkByteCount(i.inputs[2], lane, warp),
        let source = asyncSource(
          shared32(i.inputs[1], lane, access.sourceOffset, warp), byteCount: count, alignment: 16,
          warp, lanes: lanes),
        let place = writablePlace(
          destination, byteCount: count, alignment: 16, warp, lanes: lanes),
        checkGlobalWrite(place, count, destination, warp, lanes: lanes)
      else { return }
      let data = Array(UnsafeBufferPointer(start: source.bytes, count: count))
      issue(BulkStore(source: source, writes: [(place, data)]), warp, lane)
    }
  }

  func tensorStore(
    _ access: Op.TensorAccess, _ reduction: Op.ReductionOp?, _ i: Code.Instruction, _ warp: Warp
  ) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let count = access.dimensions
      guard let map = tensorMap(warp.get(i.inputs[0], lane), rank: count, warp, lane) else {
        return
      }
      let corner = (0..<count).map { Int(Int32(bitPattern: warp.get32(i.inputs[1 + $0], lane))) }
      let box = TensorBox(map: map, corner: corner)
      guard
        let source = asyncSource(
          shared32(i.inputs[1 + count], lane, access.sharedOffset, warp),
          byteCount: box.byteCount,
          alignment: map.swizzle == .none ? 128 : map.swizzle.atomBytes, warp, lanes: lanes)
      else { return }
      var store = BulkStore(source: source, writes: [])
      if let reduction {
        guard map.element.allows(reduction, byteCount: map.elementByteCount) else {
          report(
            .invalidOperand(
              "\(reduction) must suit the elements of the tensor; found \(map.element) of "
                + "\(map.elementByteCount) bytes"), warp, lanes: lanes)
          return
        }
        store.reduction = (reduction, map)
      }
      let base = UnsafeRawPointer(source.bytes)
      var isSound = true
      box.forEachRun { address, offset, byteCount in
        guard
          let place = writablePlace(
            address, byteCount: byteCount, alignment: map.elementByteCount, warp, lanes: lanes),
          reduction != nil || checkGlobalWrite(place, byteCount, address, warp, lanes: lanes)
        else {
          isSound = false
          return false
        }
        var data = [UInt8](repeating: 0, count: byteCount)
        data.withUnsafeMutableBytes { data in
          guard let target = data.baseAddress else { return }
          box.forEachPiece(offset, byteCount) { logical, physical, count in
            (target + (logical - offset)).copyMemory(from: base + physical, byteCount: count)
          }
        }
        store.writes.append((place, data))
        return true
      }
      if isSound { issue(store, warp, lane) }
    }
  }

  /// Shared bytes that the async proxy reads: written, ordered, and fenced.
  func asyncSource(
    _ address: UInt32, byteCount: Int, alignment: Int, _ warp: Warp, lanes: UInt32
  ) -> SharedPlace? {
    guard
      let place = sharedPlace(
        address, .shared, byteCount: byteCount, alignment: alignment, warp, lanes: lanes),
      noteRead(place, warp, lanes: lanes), checkProxyFence(place, warp, lanes: lanes)
    else { return nil }
    return place
  }

  private func issue(_ store: BulkStore, _ warp: Warp, _ lane: Int) {
    lockSource(store.source, true)
    warp.openBulk[lane].append(store)
  }

  func waitForStores(_ pending: Int, isReadOnly: Bool, _ warp: Warp) {
    warp.forEachLane { lane in
      while warp.bulkGroups[lane].count > pending {
        for store in warp.bulkGroups[lane].removeFirst() {
          lockSource(store.source, false)
          let stamp = nextBulkStamp(warp)
          for (place, data) in store.writes {
            stampGlobal(place, data.count, stamp, warp.block.cluster.index)
            if let reduction = store.reduction {
              combine(data, reduction.op, reduction.map, into: place)
            } else {
              data.withUnsafeBytes { place.store($0) }
            }
          }
        }
      }
    }
    // Only a full wait makes the written bytes visible to the thread.
    if !isReadOnly {
      warp.clock.merge(Knowledge(before: warp.bulkEpoch + 1), of: asyncAgent)
    }
  }

  private func nextBulkStamp(_ warp: Warp) -> Stamp {
    let cluster = warp.block.cluster
    cluster.asyncEpoch += 1
    warp.bulkEpoch = cluster.asyncEpoch
    return Stamp(
      epoch: cluster.asyncEpoch, agent: asyncAgent, lane: Knowledge.wholeWarp,
      instruction: warp.pc)
  }

  private func combine(
    _ data: [UInt8], _ op: Op.ReductionOp, _ map: TensorMapDescription,
    into place: DeviceMemory.Place
  ) {
    let size = map.elementByteCount
    for offset in stride(from: 0, to: data.count, by: size) {
      let x = (0..<size).reduce(UInt64(0)) { $0 | UInt64(data[offset + $1]) << UInt64(8 * $1) }
      let target = place + offset
      target.store(map.element.combine(target.load(size), x, op), size)
    }
  }
}
