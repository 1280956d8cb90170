/// Where the keys and values of each request lie.
public enum KVGeometry: Sendable, Hashable, CustomStringConvertible {
  /// Rows of one tensor: k `[tokens, kvHead, dim]` (NHD) or `[kvHead, tokens, dim]` (HND);
  /// request `r` owns tokens `indptr[r] ..< indptr[r + 1]`.
  case ragged(RaggedIndptr)
  /// One slab per request: k `[batch, maxLength, kvHead, dim]` or `[batch, kvHead, maxLength, dim]`;
  /// request `r` uses the first `lengths[r]` tokens.
  case padded(maxLength: Int, lengths: [Int])
  /// Pages: k `[pages, pageSize, kvHead, dim]` or `[pages, kvHead, pageSize, dim]`.
  case paged(PageTable)

  /// Number of requests.
  public var batch: Int {
    switch self {
    case .ragged(let indptr): indptr.batch
    case .padded(_, let lengths): lengths.count
    case .paged(let table): table.batch
    }
  }

  /// Tokens of request `r`.
  ///
  /// - Precondition: the lists pass `Validator.requireGeometry`, and `r` is in `0..<batch`.
  public func length(_ r: Int) -> Int {
    switch self {
    case .ragged(let indptr): indptr.length(r)
    case .padded(_, let lengths): lengths[r]
    case .paged(let table): table.length(r)
    }
  }

  /// Tokens of each request: `length` of all, without taking the geometry apart for each.
  ///
  /// - Precondition: the lists pass `Validator.requireGeometry`.
  public var lengths: [Int] {
    switch self {
    case .ragged(let indptr): indptr.lengths
    case .padded(_, let lengths): lengths
    case .paged(let table): table.lengths
    }
  }

  /// One line.
  public var description: String {
    switch self {
    case .ragged(let indptr): "ragged(batch \(indptr.batch), \(indptr.end) tokens)"
    case .padded(let maxLength, let lengths): "padded(batch \(lengths.count), max \(maxLength))"
    case .paged(let table): table.description
    }
  }
}

extension Validator {
  /// Checks a geometry's own lists.
  @discardableResult
  public mutating func requireGeometry(_ geometry: KVGeometry) -> Bool {
    switch geometry {
    case .ragged(let indptr):
      return requireIndptr("kvIndptr", indptr)
    case .padded(let maxLength, let lengths):
      guard
        require(
          (0...Int(Int32.max)).contains(maxLength), "maxLength must be in 0…\(Int32.max)",
          found: "\(maxLength)")
      else { return false }
      for (r, length) in lengths.enumerated() where !(0...maxLength).contains(length) {
        return require(
          false, "kv lengths must be in 0…\(maxLength) (maxLength)",
          found: "\(length) at request \(r)")
      }
      return true
    case .paged(let table):
      return requirePageTable(table)
    }
  }
}
