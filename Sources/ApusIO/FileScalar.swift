/// A Swift number whose memory is that of a stored scalar of the same size: every bit pattern is a
/// value, which `Bool` and enumerations cannot promise.
///
/// Files and all supported hosts are little-endian, so bytes are taken as they are.
public protocol FileScalar: BitwiseCopyable, Sendable {
  /// The scalar type under which values are stored.
  static var fileScalarType: FileScalarType { get }
}

extension Double: FileScalar {
  /// Stored as ``FileScalarType/f64``.
  public static var fileScalarType: FileScalarType { .f64 }
}

extension Float: FileScalar {
  /// Stored as ``FileScalarType/f32``.
  public static var fileScalarType: FileScalarType { .f32 }
}

extension Int64: FileScalar {
  /// Stored as ``FileScalarType/i64``.
  public static var fileScalarType: FileScalarType { .i64 }
}

extension Int32: FileScalar {
  /// Stored as ``FileScalarType/i32``.
  public static var fileScalarType: FileScalarType { .i32 }
}

extension Int16: FileScalar {
  /// Stored as ``FileScalarType/i16``.
  public static var fileScalarType: FileScalarType { .i16 }
}

extension Int8: FileScalar {
  /// Stored as ``FileScalarType/i8``.
  public static var fileScalarType: FileScalarType { .i8 }
}

extension UInt64: FileScalar {
  /// Stored as ``FileScalarType/u64``.
  public static var fileScalarType: FileScalarType { .u64 }
}

extension UInt32: FileScalar {
  /// Stored as ``FileScalarType/u32``.
  public static var fileScalarType: FileScalarType { .u32 }
}

extension UInt16: FileScalar {
  /// Stored as ``FileScalarType/u16``.
  public static var fileScalarType: FileScalarType { .u16 }
}

extension UInt8: FileScalar {
  /// Stored as ``FileScalarType/u8``.
  public static var fileScalarType: FileScalarType { .u8 }
}
