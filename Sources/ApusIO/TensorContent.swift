/// A named tensor to be written to a file.
public struct TensorContent: Sendable, Hashable {
  /// The tensor's name in the file.
  public var name: String
  /// The type of each element.
  public var scalarType: FileScalarType
  /// Dimensions, outermost first; empty for a single scalar.
  public var shape: [Int]
  /// The elements in row-major order, little-endian.
  public var bytes: [UInt8]

  /// A tensor with the given bytes. The writers check their number against `shape`.
  public init(name: String, scalarType: FileScalarType, shape: [Int], bytes: [UInt8]) {
    self.name = name
    self.scalarType = scalarType
    self.shape = shape
    self.bytes = bytes
  }

  /// A tensor with a copy of `elements`, in row-major order.
  ///
  /// `scalarType` defaults to the elements' own type; name another one of the same size to store
  /// bit patterns, such as `UInt16` values as ``FileScalarType/bf16``.
  public init<Element: FileScalar>(
    name: String, shape: [Int], elements: [Element],
    scalarType: FileScalarType = Element.fileScalarType
  ) {
    self.init(
      name: name, scalarType: scalarType, shape: shape,
      bytes: elements.withUnsafeBytes { Array($0) })
  }

  /// Checks rank, shape and size; `tensor` is the name for errors.
  func validate(tensor: String?) throws(FileError.Reason) {
    guard shape.count <= maximumRank else {
      throw .rankTooLarge(tensor: tensor, limit: maximumRank)
    }
    guard let expected = scalarType.byteCount(ofShape: shape) else {
      throw .invalidShape(tensor: tensor, shape: shape, scalarType: scalarType)
    }
    guard expected == bytes.count else {
      throw .byteCountMismatch(
        tensor: tensor, shape: shape, scalarType: scalarType, expected: expected,
        found: bytes.count)
    }
  }
}

/// The most dimensions a tensor may have in either format. Attention tensors have at most five;
/// the limit keeps hostile headers from making long shapes.
let maximumRank = 16
