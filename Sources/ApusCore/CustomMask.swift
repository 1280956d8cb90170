/// Explicit visibility of each (query, key) pair, one bit each, request after request.
///
/// Request `r` has a row-major `[qoLength, kvLength]` matrix whose element `(i, j)` is bit
/// `i · kvLength + j` counted from byte `byteIndptr[r]`: each request starts on a byte boundary.
/// A set bit means visible.
public struct CustomMask: Sendable, Hashable, CustomStringConvertible {
  /// The packed bits of all requests.
  public let bytes: [UInt8]
  /// `batch + 1` byte offsets.
  public let byteIndptr: RaggedIndptr
  /// Order of bits within a byte.
  public let bitOrder: BitOrder

  /// Wraps packed bits as they are; validation checks their extent.
  public init(bytes: [UInt8], byteIndptr: RaggedIndptr, bitOrder: BitOrder = .little) {
    self.bytes = bytes
    self.byteIndptr = byteIndptr
    self.bitOrder = bitOrder
  }

  /// Packs flat booleans: request `r` contributes `elementCounts[r]` = qoLength · kvLength of them.
  public init(
    packing flags: [Bool], elementCounts: [Int], bitOrder: BitOrder = .little
  ) throws(ArgumentError) {
    var validator = Validator("CustomMask.init")
    let negative = elementCounts.firstIndex { $0 < 0 }
    validator.require(
      negative == nil, "elementCounts must be at least 0",
      found: negative.map { "\(elementCounts[$0]) at request \($0)" } ?? "")
    try validator.finish()
    var total = 0
    for count in elementCounts {
      let (sum, overflow) = total.addingReportingOverflow(count)
      // No array is that long, so a saturated sum stays a violation.
      total = overflow ? Int.max : sum
    }
    validator.require(
      flags.count == total, "the mask must hold the sum of qoLength · kvLength booleans",
      found: "\(flags.count) for \(total)")
    try validator.finish()
    var bytes: [UInt8] = []
    var offsets = [0]
    var position = 0
    for count in elementCounts {
      var packed = [UInt8](repeating: 0, count: (count + 7) / 8)
      for index in 0..<count where flags[position + index] {
        packed[index >> 3] |= bitOrder.bit(index)
      }
      bytes += packed
      offsets.append(bytes.count)
      position += count
    }
    self.init(bytes: bytes, byteIndptr: RaggedIndptr(offsets), bitOrder: bitOrder)
  }

  /// Visibility of key `j` for query `i` of request `r`, whose KV length is `kvLength`.
  ///
  /// - Precondition: the mask passes `Validator.requireCustomMask`, and the indices are in range.
  @inlinable public func allows(request r: Int, _ i: Int, _ j: Int, kvLength: Int) -> Bool {
    let index = i * kvLength + j
    return bytes[byteIndptr.offsets[r] + index >> 3] & bitOrder.bit(index) != 0
  }

  /// One line with size and bit order.
  public var description: String { "custom(\(bytes.count) bytes, \(bitOrder))" }
}

extension Validator {
  /// Checks that a custom mask covers every (query, key) pair of the batch.
  public mutating func requireCustomMask(
    _ mask: CustomMask, qoLengths: [Int], kvLengths: [Int]
  ) {
    guard requireIndptr("mask byteIndptr", mask.byteIndptr) else { return }
    require(
      mask.byteIndptr.end <= mask.bytes.count, "mask byteIndptr must end within the mask bytes",
      found: "\(mask.byteIndptr.end) of \(mask.bytes.count)")
    guard
      require(
        mask.byteIndptr.batch == qoLengths.count, "mask byteIndptr must hold batch + 1 offsets",
        found: "\(mask.byteIndptr.offsets.count) for batch \(qoLengths.count)")
    else { return }
    for (r, (qo, kv)) in zip(qoLengths, kvLengths).enumerated() {
      let (bits, overflow) = qo.multipliedReportingOverflow(by: kv)
      let bytes = overflow ? Int.max : bits / 8 + (bits % 8 == 0 ? 0 : 1)
      guard
        require(
          mask.byteIndptr.length(r) >= bytes,
          "the mask of request \(r) must hold qoLength · kvLength bits",
          found: "\(mask.byteIndptr.length(r)) bytes for \(qo) × \(kv) bits")
      else { return }
    }
  }
}
