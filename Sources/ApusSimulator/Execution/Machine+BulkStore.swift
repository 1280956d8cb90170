import ApusIR

/// A bulk or tensor store that was issued and not waited for.
struct BulkStore {
  /// Shared bytes that must not be written until then.
  var source: Machine.SharedPlace
  /// Global bytes it writes.
  var writes: [(place: (buffer: Int, offset: Int), data: [UInt8])]
}

/// Bulk and tensor stores to global memory.
///
/// The shared source is locked from the issue to the wait that covers the group, so its bytes are
/// the same whenever they are read; global memory changes at the wait, the latest allowed time. A
/// wait for the reads alone ends both: what follows it cannot observe the difference, since races
/// in global memory are not tracked.
extension Machine {
  func bulkStore(_ access: Op.BulkAccess, _ i: Program.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let destination = address(i.inputs[0], lane, offset: access.destinationOffset, warp)
      let count = Int(warp.get32(i.inputs[2], lane))
      guard count > 0, count % 16 == 0 else {
        report(
          .invalidOperand("bulk copies move a positive multiple of 16 bytes; found \(count)"), warp,
          lanes: lanes)
        return
      }
      guard
        let source = asyncSource(
          shared32(i.inputs[1], lane, access.sourceOffset, warp), byteCount: count, alignment: 16,
          warp, lanes: lanes),
        let place = writablePlace(
          destination, byteCount: count, alignment: 16, warp, lanes: lanes)
      else { return }
      let data = Array(source.shared.bytes[source.start..<source.start + count])
      issue(BulkStore(source: source, writes: [(place, data)]), warp, lane)
    }
  }

  func tensorStore(_ access: Op.TensorAccess, _ i: Program.Instruction, _ warp: Warp) {
    warp.forEachLane { lane in
      let lanes = UInt32(1) << UInt32(lane)
      let count = access.dimensions
      guard let map = tensorMap(warp.get(i.inputs[0], lane), rank: count, warp, lane) else {
        return
      }
      let corner = (0..<count).map { Int(Int32(bitPattern: warp.get32(i.inputs[1 + $0], lane))) }
      let size = map.elementByteCount
      let addresses = boxAddresses(map, corner)
      guard
        let source = asyncSource(
          shared32(i.inputs[1 + count], lane, access.sharedOffset, warp),
          byteCount: addresses.count * size,
          alignment: map.swizzle == .none ? 128 : map.swizzle.atomBytes, warp, lanes: lanes)
      else { return }
      var store = BulkStore(source: source, writes: [])
      for (element, address) in addresses.enumerated() {
        guard let address else { continue }
        guard
          let place = writablePlace(
            address, byteCount: size, alignment: size, warp, lanes: lanes)
        else { return }
        // Elements are no longer than a chunk, which the swizzle moves as a whole.
        let start = source.start + map.swizzle.apply(element * size)
        store.writes.append((place, Array(source.shared.bytes[start..<start + size])))
      }
      issue(store, warp, lane)
    }
  }

  /// Shared bytes that the async proxy reads: written, ordered, and fenced.
  private func asyncSource(
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
    for byte in store.source.start..<store.source.start + store.source.byteCount {
      store.source.shared.sourceLocks[byte] += 1
    }
    warp.openBulk[lane].append(store)
  }

  func waitForStores(_ pending: Int, _ warp: Warp) {
    warp.forEachLane { lane in
      while warp.bulkGroups[lane].count > pending {
        for store in warp.bulkGroups[lane].removeFirst() {
          for byte in store.source.start..<store.source.start + store.source.byteCount {
            store.source.shared.sourceLocks[byte] -= 1
          }
          for (place, data) in store.writes {
            for (index, byte) in data.enumerated() {
              memory.store((place.buffer, place.offset + index), UInt64(byte), byteCount: 1)
            }
          }
        }
      }
    }
  }
}
