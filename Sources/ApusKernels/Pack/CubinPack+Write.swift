public import ApusIR

extension CubinPack {
  /// Code to be packed.
  public struct Source: Sendable, Hashable {
    /// The kernel's entry name.
    public var symbol: String
    /// The GPU that the code is for.
    public var target: Target
    /// Digest of the PTX text that the code was assembled from.
    public var ptxDigest: SHA256Digest
    /// The machine code.
    public var code: [UInt8]

    /// Code with what it was made of.
    public init(symbol: String, target: Target, ptxDigest: SHA256Digest, code: [UInt8]) {
      self.symbol = symbol
      self.target = target
      self.ptxDigest = ptxDigest
      self.code = code
    }
  }

  /// The bytes of a pack; equal sources give equal bytes, in whatever order they come.
  ///
  /// - Parameter assembler: what made the code, such as `ptxas 13.0`.
  /// - Throws: `CubinPackError` for two entries of one kernel and target, and for sizes beyond the
  ///   format's.
  public static func write(
    _ sources: [Source], assembler: String
  ) throws(CubinPackError) -> [UInt8] {
    let sorted = sources.sorted { precedes(($0.symbol, $0.target), ($1.symbol, $1.target)) }
    for (left, right) in zip(sorted, sorted.dropFirst())
    where left.symbol == right.symbol && left.target == right.target {
      throw .duplicate(symbol: left.symbol, target: left.target)
    }
    guard sorted.count <= CubinPackLayout.largestEntryCount else {
      throw .malformed(
        part: "entries", requirement: "be at most \(CubinPackLayout.largestEntryCount)",
        found: "\(sorted.count)")
    }
    var strings = Array(assembler.utf8)
    let tableByteCount = CubinPackLayout.entryByteCount * sorted.count
    let names = sorted.map { source in
      defer { strings += Array(source.symbol.utf8) }
      return tableByteCount + strings.count
    }
    let metadataByteCount = tableByteCount + strings.count
    var table: [UInt8] = []
    var end = CubinPackLayout.headerByteCount + metadataByteCount
    var starts: [Int] = []
    for (source, name) in zip(sorted, names) {
      let start = aligned(end)
      starts.append(start)
      end = start + source.code.count
      append(UInt32(clamping: name), to: &table)
      append(UInt32(clamping: source.symbol.utf8.count), to: &table)
      let target = Array(source.target.description.utf8)
      table += target + Array(repeating: 0, count: max(0, 8 - target.count))
      append(UInt64(start), to: &table)
      append(UInt64(source.code.count), to: &table)
      table += SHA256Digest(of: source.code).bytes + source.ptxDigest.bytes
    }
    let metadata = table + strings
    var bytes = CubinPackLayout.magic
    append(CubinPackLayout.version, to: &bytes)
    append(UInt32(clamping: sorted.count), to: &bytes)
    append(UInt64(end), to: &bytes)
    append(UInt64(metadataByteCount), to: &bytes)
    append(UInt32(clamping: tableByteCount), to: &bytes)
    append(UInt32(clamping: assembler.utf8.count), to: &bytes)
    bytes += SHA256Digest(of: metadata).bytes + metadata
    for (source, start) in zip(sorted, starts) {
      bytes += Array(repeating: 0, count: start - bytes.count) + source.code
    }
    return bytes
  }

  static func aligned(_ offset: Int) -> Int {
    let step = CubinPackLayout.codeAlignment
    return (offset + step - 1) / step * step
  }

  private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes += Array($0) }
  }
}
