/// The numeric format of a stored tensor element.
///
/// Q, K/V and O of every operator may each have any of these types. Arithmetic never happens in a
/// storage type: elements are widened to f32 (exactly: every format is a subset of f32) and rounded
/// once when stored.
public enum ElementType: UInt8, Sendable, Hashable, CaseIterable {
  /// IEEE 754 binary32.
  case f32 = 0
  /// IEEE 754 binary16: 5 exponent bits, 10 mantissa bits.
  case f16 = 1
  /// bfloat16: the upper half of binary32, 8 exponent bits, 7 mantissa bits.
  case bf16 = 2
  /// OCP FP8 E4M3 ("e4m3fn"): largest value 448, no infinity, NaN is S.1111.111.
  case e4m3 = 3
  /// OCP FP8 E5M2: largest value 57344, IEEE-like infinities and NaN.
  case e5m2 = 4

  /// Bytes per element.
  public var byteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .e4m3, .e5m2: 1
    }
  }

  /// Explicit mantissa bits; a result rounded to nearest has relative error at most
  /// `2^-(mantissaBits + 1)` in the normal range.
  public var mantissaBits: Int {
    switch self {
    case .f32: 23
    case .f16: 10
    case .bf16: 7
    case .e4m3: 3
    case .e5m2: 2
    }
  }

  /// Unit roundoff `2^-(mantissaBits + 1)`.
  public var unitRoundoff: Double {
    switch self {
    case .f32: 0x1p-24
    case .f16: 0x1p-11
    case .bf16: 0x1p-8
    case .e4m3: 0x1p-4
    case .e5m2: 0x1p-3
    }
  }

  /// Largest finite value.
  public var greatestFiniteMagnitude: Float {
    switch self {
    case .f32: .greatestFiniteMagnitude
    case .f16: 65504
    case .bf16: 0x1.FEp127
    case .e4m3: 448
    case .e5m2: 57344
    }
  }

  /// Smallest positive (subnormal) value.
  public var leastNonzeroMagnitude: Float {
    switch self {
    case .f32: .leastNonzeroMagnitude
    case .f16: 0x1p-24
    case .bf16: 0x1p-133
    case .e4m3: 0x1p-9
    case .e5m2: 0x1p-16
    }
  }
}

extension ElementType: CustomStringConvertible, LosslessStringConvertible {
  /// The field's short name: `f32`, `f16`, `bf16`, `e4m3` or `e5m2`.
  public var description: String {
    switch self {
    case .f32: "f32"
    case .f16: "f16"
    case .bf16: "bf16"
    case .e4m3: "e4m3"
    case .e5m2: "e5m2"
    }
  }

  /// The type with the given short name, or nil.
  public init?(_ description: String) {
    guard let type = Self.allCases.first(where: { $0.description == description }) else {
      return nil
    }
    self = type
  }
}
