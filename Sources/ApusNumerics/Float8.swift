/// OCP FP8 E4M3: 4 exponent bits, 3 mantissa bits, bias 7; largest value 448.
///
/// There is no infinity: the all-ones exponent is an ordinary one, and only S.1111.111 is NaN
/// (OCP OFP8 1.0; "e4m3fn" elsewhere).
@frozen
public struct Float8E4M3: MiniFloat {
  /// The code.
  public var bitPattern: UInt8

  /// The value with the given code; every code is valid.
  @inlinable
  public init(bitPattern: UInt8) { self.bitPattern = bitPattern }

  /// Fields and codes of E4M3.
  @inlinable public static var format: MiniFloatFormat { .e4m3 }
}

/// OCP FP8 E5M2, the upper half of binary16: 5 exponent bits, 2 mantissa bits, bias 15; largest
/// value 57344, infinities and NaN as in IEEE 754 (OCP OFP8 1.0).
@frozen
public struct Float8E5M2: MiniFloat {
  /// The code: the upper 8 bits of the binary16 value.
  public var bitPattern: UInt8

  /// The value with the given code; every code is valid.
  @inlinable
  public init(bitPattern: UInt8) { self.bitPattern = bitPattern }

  /// Fields and codes of E5M2.
  @inlinable public static var format: MiniFloatFormat { .e5m2 }

  /// Positive infinity.
  @inlinable public static var infinity: Self { Self(bitPattern: 0x7C) }
}
