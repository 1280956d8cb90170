internal import ApusIR

extension CubinPack {
  /// Opens a pack. Nothing of the file is trusted: each number is checked before it is used.
  ///
  /// - Throws: `CubinPackError` naming the first part that contradicts the format.
  public init(bytes: [UInt8]) throws(CubinPackError) {
    typealias Layout = CubinPackLayout
    guard bytes.count >= Layout.headerByteCount, bytes.starts(with: Layout.magic) else {
      throw .notAPack(byteCount: bytes.count)
    }
    let version = Self.number(bytes, at: 8, as: UInt32.self)
    guard version == Layout.version else { throw .version(version) }
    let count = Int(Self.number(bytes, at: 12, as: UInt32.self))
    guard count <= Layout.largestEntryCount else {
      throw .malformed(
        part: "entries", requirement: "be at most \(Layout.largestEntryCount)", found: "\(count)")
    }
    let stated = Self.number(bytes, at: 16, as: UInt64.self)
    guard stated == UInt64(bytes.count) else {
      throw .malformed(
        part: "bytes of the file", requirement: "be \(bytes.count), its size", found: "\(stated)")
    }
    let tableByteCount = count * Layout.entryByteCount
    let available = bytes.count - Layout.headerByteCount
    let metadataByteCount = Self.number(bytes, at: 24, as: UInt64.self)
    guard metadataByteCount >= UInt64(tableByteCount), metadataByteCount <= UInt64(available) else {
      throw .malformed(
        part: "bytes of the metadata", requirement: "be \(tableByteCount)…\(available)",
        found: "\(metadataByteCount)")
    }
    let metadata = Layout.headerByteCount..<Layout.headerByteCount + Int(metadataByteCount)
    guard SHA256Digest(of: bytes[metadata]).bytes == Array(bytes[40..<72]) else {
      throw .damagedMetadata
    }
    let strings = tableByteCount..<Int(metadataByteCount)
    let assembler = try Self.text(bytes, describedAt: 32, within: strings, "assembler's name")
    var entries: [Entry] = []
    entries.reserveCapacity(count)
    var end = metadata.upperBound
    for index in 0..<count {
      let entry = try Self.entry(
        bytes, at: Layout.headerByteCount + index * Layout.entryByteCount, index: index,
        strings: strings, after: end)
      if let last = entries.last,
        !Self.precedes((last.symbol, last.target), (entry.symbol, entry.target))
      {
        throw .malformed(
          part: "entry \(index)", requirement: "come after the one before",
          found: "\(entry.symbol) for \(entry.target)")
      }
      end = entry.codeRange.upperBound
      entries.append(entry)
    }
    guard end == bytes.count else {
      throw .malformed(
        part: "the last code", requirement: "end with the file, at \(bytes.count)", found: "\(end)")
    }
    self.assembler = assembler
    self.entries = entries
    self.bytes = bytes
  }

  private static func entry(
    _ bytes: [UInt8], at offset: Int, index: Int, strings: Range<Int>, after end: Int
  ) throws(CubinPackError) -> Entry {
    let symbol = try text(bytes, describedAt: offset, within: strings, "symbol of entry \(index)")
    guard let first = symbol.utf8.first, isLetter(first),
      symbol.utf8.allSatisfy({ isLetter($0) || (0x30...0x39).contains($0) || $0 == 0x5F })
    else {
      throw .malformed(
        part: "symbol of entry \(index)", requirement: "be an ASCII identifier", found: symbol)
    }
    let name = bytes[offset + 8..<offset + 16]
    let letters = name.prefix { $0 != 0 }
    guard name.dropFirst(letters.count).allSatisfy({ $0 == 0 }),
      let target = Target(String(decoding: letters, as: UTF8.self))
    else {
      throw .malformed(
        part: "target of entry \(index)",
        requirement: "be one of \(Target.allCases.map(\.description).joined(separator: ", "))",
        found: String(decoding: letters, as: UTF8.self))
    }
    let start = number(bytes, at: offset + 16, as: UInt64.self)
    let count = number(bytes, at: offset + 24, as: UInt64.self)
    let expected = aligned(end)
    guard start == UInt64(expected), expected <= bytes.count,
      count <= UInt64(bytes.count - expected)
    else {
      throw .malformed(
        part: "code of entry \(index)",
        requirement: "lie at \(expected) and end within \(bytes.count) bytes",
        found: "\(count) bytes at \(start)")
    }
    guard bytes[end..<expected].allSatisfy({ $0 == 0 }),
      let codeDigest = SHA256Digest(bytes: bytes[offset + 32..<offset + 64]),
      let ptxDigest = SHA256Digest(bytes: bytes[offset + 64..<offset + 96])
    else {
      throw .malformed(
        part: "bytes before entry \(index)'s code", requirement: "be zero", found: "others")
    }
    return Entry(
      symbol: symbol, target: target, ptxDigest: ptxDigest, codeDigest: codeDigest,
      codeRange: expected..<expected + Int(count))
  }

  /// The string whose offset within the metadata and byte count stand at `offset`.
  private static func text(
    _ bytes: [UInt8], describedAt offset: Int, within strings: Range<Int>, _ part: String
  ) throws(CubinPackError) -> String {
    let start = UInt64(number(bytes, at: offset, as: UInt32.self))
    let count = UInt64(number(bytes, at: offset + 4, as: UInt32.self))
    guard start >= UInt64(strings.lowerBound), start + count <= UInt64(strings.upperBound) else {
      throw .malformed(
        part: part, requirement: "lie in the strings, bytes \(strings) of the metadata",
        found: "\(count) bytes at \(start)")
    }
    let first = CubinPackLayout.headerByteCount + Int(start)
    guard let text = String(validating: bytes[first..<first + Int(count)], as: UTF8.self) else {
      throw .malformed(part: part, requirement: "be UTF-8", found: "other bytes")
    }
    return text
  }

  /// A little-endian number; the caller has checked that it lies within the bytes.
  private static func number<Number: FixedWidthInteger>(
    _ bytes: [UInt8], at offset: Int, as: Number.Type
  ) -> Number {
    bytes[offset..<offset + MemoryLayout<Number>.size].reversed()
      .reduce(0) { $0 << 8 | Number(truncatingIfNeeded: $1) }
  }
}

private func isLetter(_ byte: UInt8) -> Bool {
  (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
}
