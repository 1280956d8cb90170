/// A row-major tensor inside an opened file.
///
/// The tensor keeps the file's bytes alive: it may outlive the ``SafetensorsFile`` or ``NPYFile``
/// it came from, and be used from any thread.
public struct FileTensor: Sendable {
  /// The tensor's name; empty for the array of an NPY file.
  public let name: String
  /// The type of each element.
  public let scalarType: FileScalarType
  /// Dimensions, outermost first; empty for a single scalar.
  public let shape: [Int]
  /// The tensor's bytes, as offsets from the start of the file.
  public let byteRange: Range<Int>

  private let storage: FileStorage
  private let path: String

  /// Precondition: `byteRange` lies within `storage` and has the size of `shape`; the header
  /// parsers guarantee both.
  init(
    name: String, scalarType: FileScalarType, shape: [Int], byteRange: Range<Int>,
    storage: FileStorage, path: String
  ) {
    self.name = name
    self.scalarType = scalarType
    self.shape = shape
    self.byteRange = byteRange
    self.storage = storage
    self.path = path
  }

  /// The number of elements: the product of `shape`, 1 for a scalar.
  public var elementCount: Int { byteRange.count / scalarType.byteCount }

  /// Calls `body` with the tensor's little-endian bytes, without copying them.
  ///
  /// - Important: the pointer is valid only during the call, and need not be aligned for the
  ///   scalar type: the formats allow any offset. Use `loadUnaligned` or ``elements(as:)``.
  public func withBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try storage.withBytes { (bytes) throws(Failure) in
      try body(UnsafeRawBufferPointer(rebasing: bytes[byteRange]))
    }
  }

  /// A copy of the elements in row-major order, reinterpreted as `type`.
  ///
  /// Only sizes must agree, so that bf16 and f16 can be read as `UInt16` and FP8 as `UInt8`.
  ///
  /// - Throws: ``FileError`` (`elementSizeMismatch`) when the sizes differ.
  public func elements<Element: FileScalar>(
    as type: Element.Type = Element.self
  ) throws(FileError) -> [Element] {
    guard MemoryLayout<Element>.size == scalarType.byteCount else {
      throw FileError(
        operation: "FileTensor.elements", path: path,
        reason: .elementSizeMismatch(
          tensor: name.isEmpty ? nil : name, scalarType: scalarType,
          typeByteCount: MemoryLayout<Element>.size))
    }
    return withBytes { bytes in
      Array(unsafeUninitializedCapacity: elementCount) { buffer, count in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        count = elementCount
      }
    }
  }
}

extension FileTensor: CustomStringConvertible {
  /// Name, type and shape on one line, such as `q: F32 [512, 12, 32]`.
  public var description: String {
    "\(name.isEmpty ? "array" : name): \(scalarType) \(shape)"
  }
}
