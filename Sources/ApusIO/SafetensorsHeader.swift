/// The checked header of a safetensors file.
///
/// Layout of a file: the header's length as 8 little-endian bytes; the header, a JSON object in
/// UTF-8 that starts with `{` and may end in spaces; then the data section. The object maps each
/// tensor's name to `{"dtype": string, "shape": [integers], "data_offsets": [begin, end]}`, offsets
/// counting from the start of the data section, and may map `__metadata__` to an object of strings.
///
/// A header is accepted only if the tensors cover the data section exactly: in bounds, of the size
/// that shape and type require, without overlap and without holes. Names are compared as Swift
/// strings, so names that differ only in Unicode normalisation count as duplicates too.
public struct SafetensorsHeader: Sendable, Hashable {
  /// One tensor's description.
  public struct Tensor: Sendable, Hashable {
    /// The tensor's name.
    public let name: String
    /// The type of each element.
    public let scalarType: FileScalarType
    /// Dimensions, outermost first; empty for a single scalar.
    public let shape: [Int]
    /// The tensor's bytes, as offsets from the start of the file.
    public let byteRange: Range<Int>
  }

  /// The longest header accepted, in bytes: the limit of the reference implementation.
  public static let maximumByteCount = 100_000_000

  /// The tensors in the order of their data.
  public let tensors: [Tensor]
  /// The strings of `__metadata__`; empty when it is absent.
  public let metadata: [String: String]
  /// Where the data section begins, as an offset from the start of the file.
  public let dataOffset: Int

  /// Parses and checks the header of a file whose entire content is `bytes`.
  ///
  /// Data bytes are counted but not read. Time is `O(n log n)` in the header's length, memory is
  /// proportional to it, and stack use is constant.
  public static func parse(_ bytes: UnsafeRawBufferPointer) throws(FileError) -> Self {
    do throws(FileError.Reason) {
      return try Self(bytes)
    } catch {
      throw FileError(operation: "SafetensorsHeader.parse", path: "", reason: error)
    }
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(FileError.Reason) {
    guard bytes.count >= Self.prefixByteCount else {
      throw .fileTooShort(byteCount: bytes.count, minimum: Self.prefixByteCount)
    }
    let stated = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard stated <= Self.maximumByteCount else {
      throw .headerTooLong(byteCount: stated, limit: Self.maximumByteCount)
    }
    let headerByteCount = Int(stated)
    let available = bytes.count - Self.prefixByteCount
    guard headerByteCount <= available else {
      throw .headerBeyondFile(byteCount: headerByteCount, available: available)
    }
    dataOffset = Self.prefixByteCount + headerByteCount
    var parser = SafetensorsHeaderParser(
      header: Array(bytes[Self.prefixByteCount..<dataOffset]), origin: Self.prefixByteCount,
      dataByteCount: available - headerByteCount)
    try parser.run()
    metadata = parser.metadata
    tensors = parser.tensors
  }

  static let prefixByteCount = 8
  static let metadataKey = "__metadata__"
}
