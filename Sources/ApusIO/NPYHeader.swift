/// The checked header of an NPY file, format versions 1.0, 2.0 and 3.0.
///
/// Layout of a file: the bytes `93 4E 55 4D 50 59`, major and minor version; the header's length,
/// little-endian in 2 bytes (version 1) or 4 (2 and 3); the header, a Python dictionary literal with
/// the keys `descr`, `fortran_order` and `shape`, padded with spaces and a newline; then the
/// elements. Source: the format description in NumPy's `numpy.lib.format`.
///
/// A header is accepted only if the elements fill the rest of the file exactly.
public struct NPYHeader: Sendable, Hashable {
  /// The longest header accepted, in bytes. Headers of plain numbers need under 500.
  public static let maximumByteCount = 1 << 20

  /// The type `descr` stands for.
  public let scalarType: FileScalarType
  /// Dimensions, outermost first; empty for a single scalar.
  public let shape: [Int]
  /// The elements' bytes, as offsets from the start of the file.
  public let byteRange: Range<Int>

  /// Parses and checks the header of a file whose entire content is `bytes`.
  ///
  /// Element bytes are counted but not read. Time and memory are linear in the header's length.
  public static func parse(_ bytes: UnsafeRawBufferPointer) throws(FileError) -> Self {
    do throws(FileError.Reason) {
      return try Self(bytes)
    } catch {
      throw FileError(operation: "NPYHeader.parse", path: "", reason: error)
    }
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(FileError.Reason) {
    let text = try Self.headerRange(bytes)
    var fields = NPYHeaderFields()
    try fields.parse(HeaderScanner(Array(bytes[text]), origin: text.lowerBound))
    let (scalarType, shape) = try fields.checked()
    guard let expected = scalarType.byteCount(ofShape: shape) else {
      throw .invalidShape(tensor: nil, shape: shape, scalarType: scalarType)
    }
    let found = bytes.count - text.upperBound
    guard expected == found else {
      throw .byteCountMismatch(
        tensor: nil, shape: shape, scalarType: scalarType, expected: expected, found: found)
    }
    self.scalarType = scalarType
    self.shape = shape
    byteRange = text.upperBound..<bytes.count
  }

  static let signature: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]

  /// Where the dictionary literal stands.
  private static func headerRange(
    _ bytes: UnsafeRawBufferPointer
  ) throws(FileError.Reason) -> Range<Int> {
    guard bytes.starts(with: signature.prefix(bytes.count)) else { throw .notNPY }
    guard bytes.count >= 10 else { throw .fileTooShort(byteCount: bytes.count, minimum: 10) }
    let (major, minor) = (bytes[6], bytes[7])
    let begin: Int
    let stated: UInt32
    switch (major, minor) {
    case (1, 0):
      begin = 10
      stated = UInt32(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt16.self)))
    case (2, 0), (3, 0):
      begin = 12
      guard bytes.count >= begin else {
        throw .fileTooShort(byteCount: bytes.count, minimum: begin)
      }
      stated = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    default:
      throw .unsupportedVersion(major: major, minor: minor)
    }
    guard stated <= maximumByteCount else {
      throw .headerTooLong(byteCount: UInt64(stated), limit: maximumByteCount)
    }
    guard Int(stated) <= bytes.count - begin else {
      throw .headerBeyondFile(byteCount: Int(stated), available: bytes.count - begin)
    }
    return begin..<begin + Int(stated)
  }
}
