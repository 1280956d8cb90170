public import ApusNumerics

/// The scalar type of a tensor in memory: the element types of attention plus the integer types of
/// masks and index lists.
public enum ScalarType: UInt8, Sendable, Hashable, CaseIterable {
  /// IEEE binary32.
  case f32 = 0
  /// IEEE binary16.
  case f16 = 1
  /// bfloat16.
  case bf16 = 2
  /// FP8 E4M3 (finite, NaN only).
  case e4m3 = 3
  /// FP8 E5M2.
  case e5m2 = 4
  /// Unsigned byte: packed bits, booleans (0 or not 0), workspaces.
  case u8 = 5
  /// 32-bit signed index.
  case i32 = 6
  /// 64-bit signed index.
  case i64 = 7

  /// The scalar type that stores `element`.
  public init(_ element: ElementType) {
    switch element {
    case .f32: self = .f32
    case .f16: self = .f16
    case .bf16: self = .bf16
    case .e4m3: self = .e4m3
    case .e5m2: self = .e5m2
    }
  }

  /// The attention element type, or nil for integers.
  public var elementType: ElementType? { ElementType(rawValue: rawValue) }

  /// Bytes per scalar.
  public var byteCount: Int {
    switch self {
    case .e4m3, .e5m2, .u8: 1
    case .f16, .bf16: 2
    case .f32, .i32: 4
    case .i64: 8
    }
  }
}

extension ScalarType: CustomStringConvertible {
  /// The short name, for example `bf16` or `i32`.
  public var description: String {
    switch self {
    case .u8: "u8"
    case .i32: "i32"
    case .i64: "i64"
    default: elementType?.description ?? "unknown"
    }
  }
}
