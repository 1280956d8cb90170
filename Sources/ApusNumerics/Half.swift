/// IEEE 754 binary16 as a bit pattern: 5 exponent bits, 10 mantissa bits, bias 15.
///
/// Independent of `Float16`, which the standard library does not offer on every platform.
@frozen
public struct Half: MiniFloat {
  /// The code.
  public var bitPattern: UInt16

  /// The value with the given code; every code is valid.
  @inlinable
  public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// Fields and codes of binary16.
  @inlinable public static var format: MiniFloatFormat { .binary16 }

  /// Positive infinity.
  @inlinable public static var infinity: Self { Self(bitPattern: 0x7C00) }
}
