/// Row offsets of a ragged batch: request `r` owns rows `offsets[r] ..< offsets[r + 1]`.
public struct RaggedIndptr: Sendable, Hashable, CustomStringConvertible {
  /// `batch + 1` non-decreasing offsets, the first at least 0.
  public let offsets: [Int]

  /// Wraps offsets as they are; `validate` checks them.
  public init(_ offsets: [Int]) {
    self.offsets = offsets
  }

  /// Wraps 32-bit offsets, as index tensors carry them.
  public init(_ offsets: [Int32]) {
    self.offsets = offsets.map(Int.init)
  }

  /// Consecutive rows of the given lengths, starting at 0. A sum that overflows becomes `Int.min`,
  /// which `validate` refuses.
  public init(lengths: [Int]) {
    var offsets = [0]
    offsets.reserveCapacity(lengths.count + 1)
    var running = 0
    for length in lengths {
      let (sum, overflow) = running.addingReportingOverflow(length)
      running = overflow ? Int.min : sum
      offsets.append(running)
    }
    self.offsets = offsets
  }

  /// `batch` requests of `length` rows each.
  public init(uniform length: Int, batch: Int) {
    self.init(lengths: [Int](repeating: length, count: Swift.max(batch, 0)))
  }

  /// Number of requests.
  public var batch: Int { Swift.max(offsets.count - 1, 0) }
  /// One past the last row.
  public var end: Int { offsets.last ?? 0 }
  /// Rows of request `r`. Wraps for offsets that `validate` refuses.
  public func length(_ r: Int) -> Int { offsets[r + 1] &- offsets[r] }
  /// Rows of each request. Wraps for offsets that `validate` refuses.
  public var lengths: [Int] {
    let offsets = offsets
    return (0..<batch).map { offsets[$0 + 1] &- offsets[$0] }
  }
  /// The row range of request `r`.
  public func rows(_ r: Int) -> Range<Int> { offsets[r]..<offsets[r + 1] }

  /// One line; long lists are cut.
  public var description: String {
    guard offsets.count > 9 else { return "\(offsets)" }
    let ends = [offsets.prefix(4), offsets.suffix(2)].map {
      $0.map(String.init).joined(separator: ", ")
    }
    return "[\(ends[0]), …, \(ends[1])] (\(offsets.count) offsets)"
  }
}

extension Validator {
  /// Checks an indptr: at least one offset, first ≥ 0, non-decreasing, rows that fit 31 bits each.
  @discardableResult
  public mutating func requireIndptr(_ name: String, _ indptr: RaggedIndptr) -> Bool {
    let offsets = indptr.offsets
    guard
      require(
        !offsets.isEmpty, "\(name) must hold batch + 1 offsets", found: "none",
        remedy: "Pass [0] for an empty batch.")
    else { return false }
    guard require(offsets[0] >= 0, "\(name) must start at 0 or above", found: "\(offsets[0])")
    else { return false }
    for index in 1..<Swift.max(offsets.count, 1) where offsets[index] < offsets[index - 1] {
      return require(
        false, "\(name) must not decrease",
        found: "\(offsets[index - 1]) then \(offsets[index]) at index \(index)")
    }
    for request in 0..<indptr.batch where indptr.length(request) > Int(Int32.max) {
      return require(
        false, "\(name) must give each request at most \(Int32.max) rows",
        found: "\(indptr.length(request)) at request \(request)")
    }
    return true
  }
}
