/// The type of one register: what an operand or result of an op holds in each lane.
///
/// FP8 has no register type: codes travel as packed bytes in `u16` (two) or `u32` (four) and are
/// converted by `Op.Conversion`. TF32 operands are `u32` or `f32` bit patterns.
public enum ValueType: UInt8, Sendable, Hashable, CaseIterable {
  /// A truth value; one predicate register.
  case pred
  /// An unsigned 16-bit integer, or two FP8 codes, the first in the low byte.
  case u16
  /// An unsigned 32-bit integer; also shared-memory addresses and raw 32-bit patterns.
  case u32
  /// A signed 32-bit integer, two's complement.
  case s32
  /// An unsigned 64-bit integer; also global addresses and matrix descriptors.
  case u64
  /// A signed 64-bit integer, two's complement.
  case s64
  /// IEEE binary16.
  case f16
  /// bfloat16.
  case bf16
  /// IEEE binary32.
  case f32
  /// Two binary16 values; element 0 in bits 0–15.
  case f16x2
  /// Two bfloat16 values; element 0 in bits 0–15.
  case bf16x2
}

/// The register file a value lives in; decides its PTX declaration and its cost.
public enum RegisterClass: UInt8, Sendable, Hashable, CaseIterable {
  /// Predicate registers; they cost no general register.
  case predicate
  /// 16-bit values; each occupies one 32-bit register.
  case b16
  /// One 32-bit register.
  case b32
  /// An aligned pair of 32-bit registers.
  case b64

  /// 32-bit registers that one value occupies in each thread.
  public var registerCount: Int {
    switch self {
    case .predicate: 0
    case .b16, .b32: 1
    case .b64: 2
    }
  }
}

extension ValueType {
  /// Significant bits: 1 for `pred`, else 16, 32 or 64.
  @inlinable
  public var bitWidth: Int {
    switch self {
    case .pred: 1
    case .u16, .f16, .bf16: 16
    case .u32, .s32, .f32, .f16x2, .bf16x2: 32
    case .u64, .s64: 64
    }
  }

  /// The register file of values of this type.
  @inlinable
  public var registerClass: RegisterClass {
    switch bitWidth {
    case 1: .predicate
    case 16: .b16
    case 32: .b32
    default: .b64
    }
  }

  /// Whether this is a signed or unsigned integer type.
  @inlinable
  public var isInteger: Bool {
    switch self {
    case .u16, .u32, .s32, .u64, .s64: true
    case .pred, .f16, .bf16, .f32, .f16x2, .bf16x2: false
    }
  }

  /// Whether this is a two's complement type: decides `shr`, `div`, `rem`, `min`, `max`, compares.
  @inlinable
  public var isSigned: Bool { self == .s32 || self == .s64 }

  /// Whether this is a floating-point type, scalar or packed.
  @inlinable
  public var isFloat: Bool { !isInteger && self != .pred }

  /// Whether this holds two 16-bit elements.
  @inlinable
  public var isPacked: Bool { self == .f16x2 || self == .bf16x2 }

  /// The scalar type of a packed type's elements; itself otherwise.
  public var elementType: ValueType {
    switch self {
    case .f16x2: .f16
    case .bf16x2: .bf16
    default: self
    }
  }
}

extension ValueType: CustomStringConvertible {
  /// The name in IR text: `f32`, `bf16x2`, `pred`.
  @inlinable
  public var description: String {
    switch self {
    case .pred: "pred"
    case .u16: "u16"
    case .u32: "u32"
    case .s32: "s32"
    case .u64: "u64"
    case .s64: "s64"
    case .f16: "f16"
    case .bf16: "bf16"
    case .f32: "f32"
    case .f16x2: "f16x2"
    case .bf16x2: "bf16x2"
    }
  }
}
