/// Why reading or writing a tensor file failed.
///
/// Printed as `operation("path"): requirement; found value. remedy`.
public struct FileError: Error, Sendable, Hashable {
  /// The API call that failed, such as `SafetensorsFile.init`.
  public let operation: String
  /// The file concerned; empty for a parser that was given bytes.
  public let path: String
  /// The broken requirement and the values that broke it.
  public let reason: Reason

  /// An error of `operation` on the file at `path`.
  public init(operation: String, path: String, reason: Reason) {
    self.operation = operation
    self.path = path
    self.reason = reason
  }

  /// The requirement that was broken, with the values found.
  ///
  /// `tensor` is nil in errors about an NPY file, which holds one array without a name. Byte
  /// offsets of syntax errors count from the start of the file.
  public enum Reason: Error, Sendable, Hashable {
    // MARK: The file system

    /// A system call failed with this `errno`.
    case system(call: String, code: Int32)
    /// The path contains a NUL character and so cannot be passed to the system.
    case pathContainsNUL
    /// The path leads to a folder, device, pipe or socket.
    case notRegularFile
    /// The file is shorter than its format's fixed part.
    case fileTooShort(byteCount: Int, minimum: Int)

    // MARK: Header text

    /// The header's stated length is over the limit.
    case headerTooLong(byteCount: UInt64, limit: Int)
    /// The header's stated length leads past the end of the file.
    case headerBeyondFile(byteCount: Int, available: Int)
    /// The header is not in the grammar of its format; `found` is nil at the end of the header.
    case syntax(offset: Int, expected: HeaderElement, found: UInt8?)
    /// An integer does not fit in 64 bits.
    case integerTooLarge(offset: Int)

    // MARK: Tensor descriptions

    /// Two tensors, or two metadata entries, have the same name.
    case duplicateName(String)
    /// A name the format keeps for itself.
    case reservedName(String)
    /// One field of a description appears twice.
    case duplicateField(tensor: String?, field: String)
    /// A description lacks a field.
    case missingField(tensor: String?, field: String)
    /// A description has a field this format version does not define.
    case unknownField(tensor: String?, field: String)
    /// A scalar type this library does not know.
    case unknownScalarType(tensor: String?, name: String)
    /// More dimensions than the limit.
    case rankTooLarge(tensor: String?, limit: Int)
    /// A negative dimension, or an element count or byte count that does not fit in 63 bits.
    case invalidShape(tensor: String?, shape: [Int], scalarType: FileScalarType)
    /// The number of bytes differs from shape times scalar size.
    case byteCountMismatch(
      tensor: String?, shape: [Int], scalarType: FileScalarType, expected: Int, found: Int)

    // MARK: The data section of a safetensors file

    /// `end` lies before `begin`.
    case reversedOffsets(tensor: String, begin: Int, end: Int)
    /// The tensor reaches past the end of the data section.
    case outsideData(tensor: String, begin: Int, end: Int, dataByteCount: Int)
    /// A tensor begins inside another one.
    case overlap(tensor: String, begin: Int, end: Int, other: String, otherEnd: Int)
    /// Bytes of the data section that belong to no tensor.
    case hole(begin: Int, end: Int, dataByteCount: Int)
    /// No tensor has this name; `nearest` is a name within a few edits.
    case unknownTensor(name: String, nearest: String?, available: [String])

    // MARK: NPY

    /// The file does not begin with the NPY signature.
    case notNPY
    /// An NPY format version other than 1.0, 2.0 and 3.0.
    case unsupportedVersion(major: UInt8, minor: UInt8)
    /// The array is stored column by column.
    case fortranOrder(shape: [Int])
    /// The array's elements are big-endian.
    case bigEndian(descr: String)
    /// The array's elements are records.
    case structuredType
    /// The requested type has another size than the stored one.
    case reinterpretation(stored: FileScalarType, requested: FileScalarType)

    // MARK: Element access

    /// The Swift type's size differs from the scalar type's.
    case elementSizeMismatch(tensor: String?, scalarType: FileScalarType, typeByteCount: Int)
  }

  /// What a header parser expected to read next.
  public enum HeaderElement: Sendable, Hashable {
    /// Exactly this ASCII character.
    case character(UInt8)
    /// One ASCII character or the other.
    case either(UInt8, UInt8)
    /// A quoted string.
    case string
    /// A well-formed character, escape or closing quote inside a string.
    case stringContent
    /// A decimal integer without sign, fraction, exponent or leading zero.
    case nonNegativeInteger
    /// `True` or `False`.
    case boolean
    /// Nothing but padding up to the end of the header.
    case padding
  }
}
