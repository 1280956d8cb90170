/// bfloat16, the upper half of binary32: 8 exponent bits, 7 mantissa bits, bias 127.
@frozen
public struct BFloat16: MiniFloat {
  /// The code: the upper 16 bits of the binary32 value.
  public var bitPattern: UInt16

  /// The value with the given code; every code is valid.
  @inlinable
  public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// Fields and codes of bfloat16.
  @inlinable public static var format: MiniFloatFormat { .bfloat16 }

  /// Positive infinity.
  @inlinable public static var infinity: Self { Self(bitPattern: 0x7F80) }
}
