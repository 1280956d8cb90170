internal import ApusCore
internal import CApusSIMD

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

  /// Writes the row pointer of each key of one request and head, `stride` places apart.
  @inline(__always)
  func fill(
    _ map: KeyMap, request: Int, head: Int, keys: Range<Int>,
    into rows: UnsafeMutablePointer<UnsafeRawPointer?>, stride: Int = 1
  ) {
    let base = base + head * self.head
    if map.isPaged {
      let pages = map.starts[request]
      var key = keys.lowerBound
      var index = 0
      while key < keys.upperBound {
        let page = key / map.pageSize
        let slot = key - page * map.pageSize
        let count = min(map.pageSize - slot, keys.upperBound - key)
        let first = base + Int(map.pages[pages + page]) * outer + slot * token
        for offset in 0..<count { rows[(index + offset) * stride] = first + offset * token }
        key += count
        index += count
      }
    } else {
      // `outer` is 0 in ragged tensors, and `starts` in padded ones.
      let first = base + request * outer + (map.starts[request] + keys.lowerBound) * token
      for index in 0..<keys.count { rows[index * stride] = first + index * token }
    }
  }

  /// As `fill`, in the order of `KeyOrder`.
  @inline(__always)
  func fill(
    _ map: KeyMap, request: Int, head: Int, order: KeyOrder,
    into rows: UnsafeMutablePointer<UnsafeRawPointer?>
  ) {
    for lane in 0..<order.lanes {
      fill(
        map, request: request, head: head, keys: order.keys(lane: lane), into: rows + lane,
        stride: order.lanes)
    }
    let rest = order.rest
    fill(
      map, request: request, head: head, keys: rest,
      into: rows + (rest.lowerBound - order.keys.lowerBound))
  }
}

/// Where the keys of each request lie, in plain lists: a `KVGeometry` is an enum of objects, and threads
/// that unpack one for every block of keys take turns at their counts of references.
struct KeyMap: Sendable {
  let isPaged: Bool
  /// Of each request: its first row, or the place of its first page in `pages`.
  let starts: [Int]
  let pages: [Int32]
  let pageSize: Int

  init(_ geometry: KVGeometry) {
    switch geometry {
    case .ragged(let indptr):
      (isPaged, starts, pages, pageSize) = (false, indptr.offsets, [], 1)
    case .padded(_, let lengths):
      (isPaged, starts) = (false, [Int](repeating: 0, count: lengths.count))
      (pages, pageSize) = ([], 1)
    case .paged(let table):
      isPaged = true
      pageSize = table.pageSize
      switch table.form {
      case .csr(let indptr, let indices, _): (starts, pages) = (indptr.offsets, indices)
      case .blockTable(let blocks, let width, let lengths):
        (starts, pages) = (lengths.indices.map { $0 * width }, blocks)
      }
    }
  }
}

extension RowAddress {
  /// Writes CAPUS_FOLLOWING pointers: the first that `fill` would write, if need be repeated.
  @inline(__always)
  func fillFirst(
    _ map: KeyMap, request: Int, head: Int, order: KeyOrder,
    into rows: UnsafeMutablePointer<UnsafeRawPointer?>
  ) {
    let most = Int(CAPUS_FOLLOWING)
    let depth = min(order.length, most / order.lanes)
    for lane in 0..<order.lanes {
      fill(
        map, request: request, head: head, keys: order.keys(lane: lane).prefix(depth),
        into: rows + lane, stride: order.lanes)
    }
    var count = depth * order.lanes
    if count == 0 {
      let rest = order.rest.prefix(most)
      fill(map, request: request, head: head, keys: rest, into: rows)
      count = rest.count
    }
    let last = count > 0 ? rows[0] : base
    for place in count..<most { rows[place] = last }
  }
}

/// The order in which a step reads its keys: one of each of its parts in turn, so that every part is
/// read as a stream of its own; then those that do not divide.
struct KeyOrder {
  let keys: Range<Int>
  let lanes: Int
  /// Keys of a part.
  let length: Int

  init(_ keys: Range<Int>, lanes: Int) {
    self.keys = keys
    self.lanes = lanes
    length = keys.count / lanes
  }

  /// The keys of one part.
  func keys(lane: Int) -> Range<Int> {
    let start = keys.lowerBound + lane * length
    return start..<start + length
  }

  /// The keys after the parts.
  var rest: Range<Int> { keys.lowerBound + lanes * length..<keys.upperBound }

  /// Place of the key at `place`, counted from the first key.
  @inline(__always)
  func index(at place: Int) -> Int {
    place < lanes * length ? place % lanes * length + place / lanes : place
  }

  /// Brings values from the order of reading into that of the keys.
  func sort(_ values: UnsafeMutablePointer<Float>, _ buffer: UnsafeMutablePointer<Float>) {
    buffer.update(from: values, count: lanes * length)
    for lane in 0..<lanes {
      for index in 0..<length { values[lane * length + index] = buffer[index * lanes + lane] }
    }
  }

  /// Undoes `sort`.
  func shuffle(_ values: UnsafeMutablePointer<Float>, _ buffer: UnsafeMutablePointer<Float>) {
    buffer.update(from: values, count: lanes * length)
    for lane in 0..<lanes {
      for index in 0..<length { values[index * lanes + lane] = buffer[lane * length + index] }
    }
  }
}
