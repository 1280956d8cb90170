public import ApusNumerics

/// The scalar type of a tensor stored in a file.
///
/// The set is that of the safetensors format without its complex, sub-byte and scale types. Five
/// of the types are ``ElementType``s, which operators compute with; the others (indices, masks,
/// float64 references) are only carried.
public enum FileScalarType: Sendable, Hashable, CaseIterable {
  /// IEEE 754 binary64.
  case f64
  /// IEEE 754 binary32.
  case f32
  /// IEEE 754 binary16.
  case f16
  /// bfloat16, the upper half of binary32.
  case bf16
  /// OCP FP8 E4M3 ("e4m3fn").
  case f8_e4m3
  /// OCP FP8 E5M2.
  case f8_e5m2
  /// Signed 64-bit integer.
  case i64
  /// Signed 32-bit integer.
  case i32
  /// Signed 16-bit integer.
  case i16
  /// Signed 8-bit integer.
  case i8
  /// Unsigned 64-bit integer.
  case u64
  /// Unsigned 32-bit integer.
  case u32
  /// Unsigned 16-bit integer.
  case u16
  /// Unsigned 8-bit integer.
  case u8
  /// One byte per element: 0 is false, 1 is true.
  case bool

  /// Bytes per element.
  public var byteCount: Int {
    switch self {
    case .f64, .i64, .u64: 8
    case .f32, .i32, .u32: 4
    case .f16, .bf16, .i16, .u16: 2
    case .f8_e4m3, .f8_e5m2, .i8, .u8, .bool: 1
    }
  }

  /// The `dtype` string of a safetensors header, such as `BF16`.
  public var safetensorsName: String {
    switch self {
    case .f64: "F64"
    case .f32: "F32"
    case .f16: "F16"
    case .bf16: "BF16"
    case .f8_e4m3: "F8_E4M3"
    case .f8_e5m2: "F8_E5M2"
    case .i64: "I64"
    case .i32: "I32"
    case .i16: "I16"
    case .i8: "I8"
    case .u64: "U64"
    case .u32: "U32"
    case .u16: "U16"
    case .u8: "U8"
    case .bool: "BOOL"
    }
  }

  /// The `descr` string under which an NPY file stores this type, such as `<f4`.
  ///
  /// NumPy has no bfloat16 and no FP8: these are stored as the unsigned integers of their size
  /// (`<u2`, `|u1`), and the reader of such a file states the type it expects.
  public var numpyDescr: String {
    switch self {
    case .f64: "<f8"
    case .f32: "<f4"
    case .f16: "<f2"
    case .i64: "<i8"
    case .i32: "<i4"
    case .i16: "<i2"
    case .i8: "|i1"
    case .u64: "<u8"
    case .u32: "<u4"
    case .u16, .bf16: "<u2"
    case .u8, .f8_e4m3, .f8_e5m2: "|u1"
    case .bool: "|b1"
    }
  }

  /// The operators' element type with the same format, or nil when operators cannot compute with
  /// this type.
  public var elementType: ElementType? {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .f8_e4m3: .e4m3
    case .f8_e5m2: .e5m2
    case .f64, .i64, .i32, .i16, .i8, .u64, .u32, .u16, .u8, .bool: nil
    }
  }

  /// The file type that stores elements of `elementType` unchanged.
  public init(_ elementType: ElementType) {
    self =
      switch elementType {
      case .f32: .f32
      case .f16: .f16
      case .bf16: .bf16
      case .e4m3: .f8_e4m3
      case .e5m2: .f8_e5m2
      }
  }

  /// The type with the given safetensors `dtype` string, or nil.
  public init?(safetensorsName name: String) {
    guard let type = Self.allCases.first(where: { $0.safetensorsName == name }) else {
      return nil
    }
    self = type
  }

  /// The type an NPY `descr` string stands for by itself, or nil: `<u2` is ``u16``, never
  /// ``bf16``.
  public init?(numpyDescr descr: String) {
    guard let type = Self.allCases.first(where: { $0.isNumPyType && $0.numpyDescr == descr })
    else { return nil }
    self = type
  }

  /// Whether NumPy itself has this type.
  var isNumPyType: Bool {
    switch self {
    case .bf16, .f8_e4m3, .f8_e5m2: false
    default: true
    }
  }

  /// Bytes of a row-major tensor of `shape`, or nil when a dimension is negative or the product
  /// does not fit.
  ///
  /// A zero dimension makes the result zero, but the product of the other dimensions must fit too,
  /// so that strides of an accepted shape never overflow.
  func byteCount(ofShape shape: [Int]) -> Int? {
    var product = byteCount
    for dimension in shape {
      guard dimension >= 0 else { return nil }
      let (next, overflow) = product.multipliedReportingOverflow(by: max(dimension, 1))
      guard !overflow else { return nil }
      product = next
    }
    return shape.contains(0) ? 0 : product
  }
}

extension FileScalarType: CustomStringConvertible {
  /// The safetensors name.
  public var description: String { safetensorsName }
}
