import ApusIR

/// The elements of one box of a tensor as runs of neighbours in memory.
struct TensorBox {
  let map: TensorMapDescription
  let corner: [Int]

  /// Bytes of the whole box.
  var byteCount: Int { map.box.reduce(map.elementByteCount, *) }

  /// Calls `body` with the address, the offset within the box and the bytes of each run inside the
  /// tensor until it returns false.
  func forEachRun(_ body: (_ address: UInt64, _ offset: Int, _ byteCount: Int) -> Bool) {
    let size = map.elementByteCount
    let first = max(0, -corner[0])
    let last = min(map.box[0], map.sizes[0] - corner[0])
    guard first < last else { return }
    let rows = map.box.dropFirst().reduce(1, *)
    for row in 0..<rows {
      var rest = row
      var address = map.address &+ UInt64(bitPattern: Int64((corner[0] + first) * size))
      var isInside = true
      for dimension in 1..<map.sizes.count {
        let position = corner[dimension] + rest % map.box[dimension]
        rest /= map.box[dimension]
        if position < 0 || position >= map.sizes[dimension] {
          isInside = false
          break
        }
        address &+= UInt64(bitPattern: Int64(position * map.strides[dimension - 1]))
      }
      let offset = (row * map.box[0] + first) * size
      if isInside, !body(address, offset, (last - first) * size) { return }
    }
  }

  /// Moves bytes between an array in box order and shared memory in the map's swizzle: a function
  /// of address bits, and the shared box starts an atom, so permuting offsets is enough.
  @inline(__always)
  func forEachPiece(
    _ offset: Int, _ byteCount: Int, _ body: (_ logical: Int, _ physical: Int, _ count: Int) -> Void
  ) {
    let mask = map.swizzle.rowBytes / 16 - 1
    if mask == 0 { return body(offset, offset, byteCount) }
    var logical = offset
    let end = offset + byteCount
    while logical < end {
      let count = min(16 - logical & 15, end - logical)
      body(logical, logical ^ (logical >> 7 & mask) << 4, count)
      logical += count
    }
  }
}
