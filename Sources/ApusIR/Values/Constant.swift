public import ApusNumerics

/// A typed bit pattern known when the kernel is built.
///
/// Bits above the type's width are zero, so equal constants have equal fields: `-0.0` and `0.0`
/// differ, and a NaN equals itself.
public struct Constant: Sendable, Hashable {
  /// The register type.
  public let type: ValueType
  /// The pattern, zero-extended to 64 bits.
  public let bits: UInt64

  /// The low `type.bitWidth` bits of `bits` as a value of `type`.
  public init(type: ValueType, bits: UInt64) {
    self.type = type
    self.bits = type.bitWidth == 64 ? bits : bits & ((1 << UInt64(type.bitWidth)) - 1)
  }

  /// A truth value.
  public static func pred(_ value: Bool) -> Constant {
    Constant(type: .pred, bits: value ? 1 : 0)
  }
  /// An unsigned 16-bit integer.
  public static func u16(_ value: UInt16) -> Constant {
    Constant(type: .u16, bits: UInt64(value))
  }
  /// An unsigned 32-bit integer.
  public static func u32(_ value: UInt32) -> Constant {
    Constant(type: .u32, bits: UInt64(value))
  }
  /// A signed 32-bit integer.
  public static func s32(_ value: Int32) -> Constant {
    Constant(type: .s32, bits: UInt64(UInt32(bitPattern: value)))
  }
  /// An unsigned 64-bit integer.
  public static func u64(_ value: UInt64) -> Constant { Constant(type: .u64, bits: value) }
  /// A signed 64-bit integer.
  public static func s64(_ value: Int64) -> Constant {
    Constant(type: .s64, bits: UInt64(bitPattern: value))
  }
  /// A binary32 value.
  public static func f32(_ value: Float) -> Constant {
    Constant(type: .f32, bits: UInt64(value.bitPattern))
  }
  /// A binary16 value.
  public static func f16(_ value: Half) -> Constant {
    Constant(type: .f16, bits: UInt64(value.bitPattern))
  }
  /// A bfloat16 value.
  public static func bf16(_ value: BFloat16) -> Constant {
    Constant(type: .bf16, bits: UInt64(value.bitPattern))
  }
  /// Two binary16 values.
  public static func f16x2(_ low: Half, _ high: Half) -> Constant {
    Constant(type: .f16x2, bits: UInt64(low.bitPattern) | UInt64(high.bitPattern) << 16)
  }
  /// Two bfloat16 values.
  public static func bf16x2(_ low: BFloat16, _ high: BFloat16) -> Constant {
    Constant(type: .bf16x2, bits: UInt64(low.bitPattern) | UInt64(high.bitPattern) << 16)
  }
  /// The integer `value` modulo 2^width, in an integer type.
  public static func integer(_ value: Int64, as type: ValueType) -> Constant {
    Constant(type: type, bits: UInt64(bitPattern: value))
  }

  /// The low 32 bits.
  public var low32: UInt32 { UInt32(truncatingIfNeeded: bits) }

  /// The pattern as a binary32 value; meaningful for `f32` only.
  public var float: Float { Float(bitPattern: low32) }

  /// The value of an integer or predicate type, sign-extended where the type is signed; nil for
  /// floating point and for `u64` values above `Int64.max`.
  public var integer: Int64? {
    switch type {
    case .pred, .u16, .u32: Int64(bits)
    case .s32: Int64(Int32(bitPattern: low32))
    case .s64: Int64(bitPattern: bits)
    case .u64: Int64(exactly: bits)
    case .f16, .bf16, .f32, .f16x2, .bf16x2: nil
    }
  }
}

extension Constant: CustomStringConvertible {
  /// The literal of IR text: decimal integers, shortest round-trip decimals for finite floats,
  /// `0x…` patterns for NaN, infinities and packed values; `true` and `false`.
  public var description: String {
    switch type {
    case .pred: bits == 0 ? "false" : "true"
    case .u16, .u32, .u64: String(bits)
    case .s32, .s64: integer.map(String.init) ?? ""
    case .f32: float.isFinite ? float.description : pattern
    case .f16: finite(Half(bitPattern: UInt16(bits)).float)
    case .bf16: finite(BFloat16(bitPattern: UInt16(bits)).float)
    case .f16x2, .bf16x2: pattern
    }
  }

  private var pattern: String {
    let digits = String(bits, radix: 16)
    return "0x" + String(repeating: "0", count: type.bitWidth / 4 - digits.count) + digits
  }

  private func finite(_ value: Float) -> String { value.isFinite ? value.description : pattern }
}
