public import ApusIR
import ApusNumerics

/// A phantom type of values in registers: it names a `ValueType` in Swift's type system.
public protocol Scalar: Sendable {
  /// The register type.
  static var type: ValueType { get }
}

/// What memory and registers hold: every type but `Pred`.
public protocol DataScalar: Scalar {
  /// The element in memory; as wide as the register unless the type says otherwise.
  static var memoryElement: Op.MemoryElement { get }
}

extension DataScalar {
  /// The memory element of the register type's own size.
  public static var memoryElement: Op.MemoryElement {
    switch type.bitWidth {
    case 16: .b16
    case 64: .b64
    default: .b32
    }
  }

  /// Bytes of an element in memory.
  public static var byteCount: Int { memoryElement.byteCount }
}

/// Types of bitwise operators.
public protocol BitScalar: Scalar {}

/// Types of 32 bits: what shuffles, matrix fragments and packing take.
public protocol WordScalar: DataScalar {}

/// Types with arithmetic.
public protocol NumberScalar: DataScalar {
  /// What a literal of the type is in Swift.
  associatedtype Literal: Sendable
  /// The constant of a literal, or nil if the type has no such value.
  static func constant(_ literal: Literal) -> Constant?
}

/// Integers of 32 and 64 bits; literals are `Int`.
public protocol IntegerScalar: NumberScalar, BitScalar where Literal == Int {}

/// Floating point, scalar and packed; literals are `Float`, rounded to the type, the same in both
/// halves of a packed type.
public protocol FloatScalar: NumberScalar where Literal == Float {}

/// Integers that index memory.
public protocol IndexScalar: IntegerScalar, ComparableScalar {}

/// Types with a sign.
public protocol SignedScalar: NumberScalar {}

/// Types that compare.
public protocol ComparableScalar: NumberScalar {}

/// 16-bit pairs, the operands of tensor cores.
public protocol PairScalar: FloatScalar, WordScalar {
  /// The element in tensor-core shapes.
  static var element: Op.MatrixElement { get }
}

/// A truth value.
public enum Pred: BitScalar {
  /// `pred`.
  public static let type = ValueType.pred
}

/// 16 raw bits, or two FP8 codes; no arithmetic.
public enum U16: DataScalar, BitScalar {
  /// `u16`.
  public static let type = ValueType.u16
}

/// An unsigned 32-bit integer; also raw words and shared addresses.
public enum U32: IndexScalar, WordScalar {
  /// `u32`.
  public static let type = ValueType.u32
  /// The value, if it is in 0…2^32 − 1.
  public static func constant(_ literal: Int) -> Constant? {
    UInt32(exactly: literal).map(Constant.u32)
  }
}

/// A signed 32-bit integer.
public enum S32: IndexScalar, WordScalar, SignedScalar {
  /// `s32`.
  public static let type = ValueType.s32
  /// The value, if it is in −2^31…2^31 − 1.
  public static func constant(_ literal: Int) -> Constant? {
    Int32(exactly: literal).map(Constant.s32)
  }
}

/// An unsigned 64-bit integer; also global addresses.
public enum U64: IndexScalar {
  /// `u64`.
  public static let type = ValueType.u64
  /// The value, if it is not negative.
  public static func constant(_ literal: Int) -> Constant? {
    UInt64(exactly: literal).map(Constant.u64)
  }
}

/// A signed 64-bit integer.
public enum S64: IntegerScalar, SignedScalar, ComparableScalar {
  /// `s64`.
  public static let type = ValueType.s64
  /// The value.
  public static func constant(_ literal: Int) -> Constant? { .s64(Int64(literal)) }
}

/// binary32.
public enum F32: FloatScalar, WordScalar, SignedScalar, ComparableScalar {
  /// `f32`.
  public static let type = ValueType.f32
  /// The value.
  public static func constant(_ literal: Float) -> Constant? { .f32(literal) }
}

/// binary16.
public enum F16: FloatScalar, SignedScalar, ComparableScalar {
  /// `f16`.
  public static let type = ValueType.f16
  /// The nearest value.
  public static func constant(_ literal: Float) -> Constant? { .f16(Half(literal)) }
}

/// bfloat16.
public enum BF16: FloatScalar, SignedScalar, ComparableScalar {
  /// `bf16`.
  public static let type = ValueType.bf16
  /// The nearest value.
  public static func constant(_ literal: Float) -> Constant? { .bf16(BFloat16(literal)) }
}

/// Two binary16 values.
public enum F16x2: PairScalar, SignedScalar {
  /// `f16x2`.
  public static let type = ValueType.f16x2
  /// `f16`.
  public static let element = Op.MatrixElement.f16
  /// The nearest value in both halves.
  public static func constant(_ literal: Float) -> Constant? {
    .f16x2(Half(literal), Half(literal))
  }
}

/// Two bfloat16 values.
public enum BF16x2: PairScalar, SignedScalar {
  /// `bf16x2`.
  public static let type = ValueType.bf16x2
  /// `bf16`.
  public static let element = Op.MatrixElement.bf16
  /// The nearest value in both halves.
  public static func constant(_ literal: Float) -> Constant? {
    .bf16x2(BFloat16(literal), BFloat16(literal))
  }
}
