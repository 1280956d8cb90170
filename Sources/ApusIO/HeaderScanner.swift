/// A forward-only reader of header text, shared by the JSON of safetensors and the Python literal
/// of NPY.
///
/// Why not a general JSON parser: both headers have a fixed shape three levels deep, and a general
/// parser hides what must be refused here. It merges duplicate keys, may turn integers above 2^53
/// into the nearest Double, and its cost and stack depth follow the nesting of the input. This
/// scanner has no recursion: a value of the wrong kind, however deeply nested, is refused at its
/// first byte. It owns a copy of the header, so that a mapped file that changes meanwhile cannot
/// change what was checked.
///
/// Invariant: `0 <= position <= bytes.count`; bytes are read through `current` alone, which is nil
/// at the end.
struct HeaderScanner {
  typealias Reason = FileError.Reason

  let bytes: [UInt8]
  /// The header's offset in the file, added to the positions in errors.
  let origin: Int
  private(set) var position = 0

  init(_ bytes: [UInt8], origin: Int) {
    self.bytes = bytes
    self.origin = origin
  }

  var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  /// A syntax error at the current position.
  func unexpected(_ expected: FileError.HeaderElement) -> Reason {
    .syntax(offset: origin + position, expected: expected, found: current)
  }

  mutating func advance() {
    if position < bytes.count { position += 1 }
  }

  /// Skips JSON's white space, which is also what may stand between the tokens of an NPY header.
  mutating func skipWhitespace() {
    while let byte = current, byte == 0x20 || (0x09...0x0A).contains(byte) || byte == 0x0D {
      position += 1
    }
  }

  /// Consumes `byte` when it is next.
  mutating func take(_ byte: UInt8) -> Bool {
    guard current == byte else { return false }
    position += 1
    return true
  }

  mutating func require(_ byte: UInt8) throws(Reason) {
    guard take(byte) else { throw unexpected(.character(byte)) }
  }

  /// Reads `open item, item ... close` and returns the number of items and whether a comma
  /// followed the last one, which only `allowingTrailingComma` permits.
  @discardableResult
  mutating func sequence(
    _ open: UInt8, _ close: UInt8, allowingTrailingComma: Bool = false,
    item: (inout HeaderScanner) throws(Reason) -> Void
  ) throws(Reason) -> (count: Int, trailingComma: Bool) {
    try require(open)
    skipWhitespace()
    if take(close) { return (0, false) }
    var count = 0
    while true {
      try item(&self)
      count += 1
      skipWhitespace()
      if take(close) { return (count, false) }
      guard take(UInt8(ascii: ",")) else {
        throw unexpected(.either(UInt8(ascii: ","), close))
      }
      skipWhitespace()
      if allowingTrailingComma, take(close) { return (count, true) }
    }
  }

  /// Reads `:` with white space around it.
  mutating func colon() throws(Reason) {
    skipWhitespace()
    try require(UInt8(ascii: ":"))
    skipWhitespace()
  }

  mutating func nonNegativeInteger() throws(Reason) -> Int {
    let start = position
    var value = 0
    while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (next, carry) = tens.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
      guard !overflow, !carry else { throw .integerTooLarge(offset: origin + start) }
      value = next
      position += 1
      if position == start + 2, bytes[start] == UInt8(ascii: "0") {
        position = start
        throw unexpected(.nonNegativeInteger)
      }
    }
    switch current {
    case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
      throw unexpected(.nonNegativeInteger)
    default:
      guard position > start else { throw unexpected(.nonNegativeInteger) }
      return value
    }
  }

  /// Requires that only `padding` bytes remain.
  mutating func end(padding: (UInt8) -> Bool) throws(Reason) {
    while let byte = current {
      guard padding(byte) else { throw unexpected(.padding) }
      position += 1
    }
  }

  /// The UTF-8 text of `range`, or nil when it is not well-formed.
  func text(_ range: Range<Int>) -> String? {
    String(validating: bytes[range], as: UTF8.self)
  }
}
