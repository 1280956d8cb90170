internal import ApusCore

/// Address arithmetic of one K, V or scale tensor in any geometry: byte strides by role.
///
/// `@unchecked Sendable`: the pointer is to memory that the caller keeps valid and unchanged during
/// the run (`TensorView`).
struct RowAddress: @unchecked Sendable {
  let base: UnsafeRawPointer
  /// Between pages or requests; 0 for ragged tensors.
  let outer: Int
  let token: Int
  let head: Int

  /// Resolves a validated tensor whose dimensions are `[outer…, token, head, …]` in layout order.
  init(_ view: TensorView, geometry: KVGeometry, layout: KVLayout) {
    let bytes = view.scalarType.byteCount
    let first: Int
    if case .ragged = geometry {
      first = 0
      outer = 0
    } else {
      first = 1
      outer = view.strides[0] * bytes
    }
    let a = view.strides[first] * bytes
    let b = view.strides[first + 1] * bytes
    (token, head) = layout == .nhd ? (a, b) : (b, a)
    // A tensor without elements is never dereferenced; any non-null pointer will do.
    base = view.hostPointer ?? UnsafeRawPointer(bitPattern: 64).unsafelyUnwrapped
  }

  /// Moves row pointers to the next head.
  @inline(__always)
  func advance(_ rows: UnsafeMutablePointer<UnsafeRawPointer?>, count: Int) {
    for index in 0..<count { rows[index] = rows[index].map { $0 + head } }
  }

  /// Writes the row pointer of each key of one request and head.
  @inline(__always)
  func fill(
    _ geometry: KVGeometry, request: Int, head: Int, keys: Range<Int>,
    into rows: UnsafeMutablePointer<UnsafeRawPointer?>
  ) {
    let base = base + head * self.head
    switch geometry {
    case .ragged(let indptr):
      let first = base + (indptr.offsets[request] + keys.lowerBound) * token
      for index in 0..<keys.count { rows[index] = first + index * token }
    case .padded:
      let first = base + request * outer + keys.lowerBound * token
      for index in 0..<keys.count { rows[index] = first + index * token }
    case .paged(let table):
      let pageSize = table.pageSize
      var key = keys.lowerBound
      var index = 0
      while key < keys.upperBound {
        let slot = key % pageSize
        let count = min(pageSize - slot, keys.upperBound - key)
        let first = base + table.page(request, key / pageSize) * outer + slot * token
        for offset in 0..<count { rows[index + offset] = first + offset * token }
        key += count
        index += count
      }
    }
  }
}
