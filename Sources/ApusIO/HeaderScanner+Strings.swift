extension HeaderScanner {
  /// Reads a JSON string (RFC 8259, section 7), refusing ill-formed UTF-8, unpaired surrogates and
  /// unescaped control characters.
  mutating func jsonString() throws(Reason) -> String {
    guard take(UInt8(ascii: "\"")) else { throw unexpected(.string) }
    var result = ""
    var start = position
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        try append(start..<position, to: &result)
        advance()
        return result
      case UInt8(ascii: "\\"):
        try append(start..<position, to: &result)
        advance()
        result.unicodeScalars.append(try escape())
        start = position
      case 0..<0x20:
        throw unexpected(.stringContent)
      default:
        advance()
      }
    }
    throw unexpected(.stringContent)
  }

  /// Reads a Python string literal in single or double quotes, without escapes: no writer of NPY
  /// headers needs them for the keys and types accepted here.
  mutating func pythonString() throws(Reason) -> String {
    guard let quote = current, quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
      throw unexpected(.string)
    }
    advance()
    var result = ""
    let start = position
    while let byte = current {
      if byte == quote {
        try append(start..<position, to: &result)
        advance()
        return result
      }
      guard byte >= 0x20, byte != UInt8(ascii: "\\") else { throw unexpected(.stringContent) }
      advance()
    }
    throw unexpected(.stringContent)
  }

  private func append(_ range: Range<Int>, to result: inout String) throws(Reason) {
    guard !range.isEmpty else { return }
    guard let text = text(range) else {
      let offset = firstIllFormed(range)
      throw .syntax(
        offset: origin + offset, expected: .stringContent,
        found: offset < bytes.count ? bytes[offset] : nil)
    }
    result += text
  }

  /// The position of the first byte in `range` that does not continue well-formed UTF-8.
  private func firstIllFormed(_ range: Range<Int>) -> Int {
    var offset = range.lowerBound
    var iterator = bytes[range].makeIterator()
    var parser = Unicode.UTF8.ForwardParser()
    while case .valid(let scalar) = parser.parseScalar(from: &iterator) {
      offset += scalar.count
    }
    return offset
  }

  /// Reads what follows a backslash.
  private mutating func escape() throws(Reason) -> Unicode.Scalar {
    let escaped: Unicode.Scalar
    switch current {
    case UInt8(ascii: "\""): escaped = "\""
    case UInt8(ascii: "\\"): escaped = "\\"
    case UInt8(ascii: "/"): escaped = "/"
    case UInt8(ascii: "b"): escaped = "\u{8}"
    case UInt8(ascii: "f"): escaped = "\u{C}"
    case UInt8(ascii: "n"): escaped = "\n"
    case UInt8(ascii: "r"): escaped = "\r"
    case UInt8(ascii: "t"): escaped = "\t"
    case UInt8(ascii: "u"):
      advance()
      return try unicodeEscape()
    default: throw unexpected(.stringContent)
    }
    advance()
    return escaped
  }

  /// Reads the four digits of `\uXXXX` and, for a high surrogate, the low surrogate's escape.
  private mutating func unicodeEscape() throws(Reason) -> Unicode.Scalar {
    let unit = try hexUnit()
    if let scalar = Unicode.Scalar(unit) { return scalar }
    guard (0xD800...0xDBFF).contains(unit), take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
      throw unexpected(.stringContent)
    }
    let low = try hexUnit()
    guard (0xDC00...0xDFFF).contains(low),
      let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xD800) << 10 + UInt32(low) - 0xDC00)
    else { throw unexpected(.stringContent) }
    return scalar
  }

  private mutating func hexUnit() throws(Reason) -> UInt16 {
    var unit: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw unexpected(.stringContent)
      }
      unit = unit << 4 | UInt16(digit)
      advance()
    }
    return unit
  }
}
