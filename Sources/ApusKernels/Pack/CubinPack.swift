public import ApusIR

/// A bundle of machine code, written by `apus kernels pack` from a pinned assembler, for machines
/// that have no compiler or must not use the driver's.
///
/// # Format, version 1
/// All numbers are little-endian; offsets count from the start of the file.
///
/// | offset | bytes | content |
/// | --- | --- | --- |
/// | 0 | 8 | the ASCII letters `APUSCUBN` |
/// | 8 | 4 | version, 1 |
/// | 12 | 4 | entries n, at most 65,536 |
/// | 16 | 8 | bytes of the file |
/// | 24 | 8 | bytes m of the metadata: entries and strings |
/// | 32 | 4 + 4 | offset and bytes of the assembler's name, within the metadata |
/// | 40 | 32 | SHA-256 of the metadata |
/// | 72 | 96 · n | entries, ascending by symbol, then target |
/// | 72 + 96 · n | | strings, to 72 + m |
/// | | | code, each entry's at a multiple of 16, in the order of the entries |
///
/// An entry is: offset and bytes of its symbol (4 + 4, within the metadata); its target's PTX name,
/// padded with zeros (8); offset and bytes of its code (8 + 8); SHA-256 of the code (32) and of the
/// PTX text that it was assembled from (32). Bytes between the parts are zero.
///
/// Opening checks every number and the metadata's digest; `code(of:target:ptx:)` checks the code's.
/// The digest of the PTX ties code to a version of the kernel: a pack of another version is not
/// used.
public struct CubinPack: Sendable, Hashable {
  /// One kernel for one target.
  public struct Entry: Sendable, Hashable {
    /// The kernel's entry name.
    public let symbol: String
    /// The GPU that the code is for.
    public let target: Target
    /// SHA-256 of the PTX text as `PTXPrinter` prints it without locations.
    public let ptxDigest: SHA256Digest
    /// SHA-256 of the code.
    public let codeDigest: SHA256Digest
    /// Where the code lies in the file.
    public let codeRange: Range<Int>
  }

  /// The assembler that made the code: `ptxas 13.0`.
  public let assembler: String
  /// All entries, ascending by symbol, then target.
  public let entries: [Entry]
  /// The whole file.
  public let bytes: [UInt8]

  /// The code of a kernel on a target.
  ///
  /// - Parameter ptx: digest of the PTX text that this version of the library prints.
  /// - Returns: nil when the pack holds no such kernel or one of another text.
  /// - Throws: `CubinPackError.damagedCode` when the code is not what the digest says.
  public func code(
    of symbol: String, target: Target, ptx: SHA256Digest
  ) throws(CubinPackError) -> [UInt8]? {
    guard let entry = entry(of: symbol, target: target), entry.ptxDigest == ptx else { return nil }
    let code = Array(bytes[entry.codeRange])
    guard SHA256Digest(of: code) == entry.codeDigest else {
      throw .damagedCode(symbol: symbol, target: target)
    }
    return code
  }

  /// The entry of a kernel on a target, whatever its text; found by bisection.
  public func entry(of symbol: String, target: Target) -> Entry? {
    var range = entries.indices
    while let low = range.first, let last = range.last {
      let middle = low + (last - low) / 2
      let entry = entries[middle]
      if entry.symbol == symbol, entry.target == target { return entry }
      range =
        CubinPack.precedes((entry.symbol, entry.target), (symbol, target))
        ? middle + 1..<last + 1 : low..<middle
    }
    return nil
  }

  /// The order of entries: bytes of the symbol, then age of the target.
  static func precedes(_ left: (String, Target), _ right: (String, Target)) -> Bool {
    left.0 == right.0 ? left.1 < right.1 : left.0.utf8.lexicographicallyPrecedes(right.0.utf8)
  }
}

/// Sizes of the format.
enum CubinPackLayout {
  static let magic = Array("APUSCUBN".utf8)
  static let version: UInt32 = 1
  static let headerByteCount = 72
  static let entryByteCount = 96
  static let largestEntryCount = 65536
  static let codeAlignment = 16
}
