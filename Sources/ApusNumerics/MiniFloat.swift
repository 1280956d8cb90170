/// A 16- or 8-bit storage value: a bit pattern and exact or once-rounded conversions.
///
/// Storage types have no arithmetic: widen to `Float`, compute, narrow once. Equality and hashing
/// compare bit patterns, so `+0 != -0` and a NaN equals itself; compare `float` for numeric
/// equality.
public protocol MiniFloat: Hashable, Sendable, CustomStringConvertible, ExpressibleByFloatLiteral,
  ExpressibleByIntegerLiteral
{
  /// The unsigned integer of the same width.
  associatedtype BitPattern: FixedWidthInteger & UnsignedInteger & Sendable

  /// The fields and codes of this type.
  static var format: MiniFloatFormat { get }

  /// The code.
  var bitPattern: BitPattern { get }

  /// The value with the given code; every code is valid.
  init(bitPattern: BitPattern)
}

// MARK: - Conversions

extension MiniFloat {
  /// A literal, rounded once from float64, saturating: `let one: Half = 1`, `Half(1.5)`.
  @inlinable
  public init(floatLiteral value: Double) { self.init(value, overflow: .saturate) }

  /// A literal, rounded once from float64, saturating.
  @inlinable
  public init(integerLiteral value: Int) { self.init(Double(value), overflow: .saturate) }

  /// Rounds to nearest even; `overflow` decides what lies beyond the range. NaN keeps its sign and
  /// becomes the canonical quiet NaN.
  @inlinable
  public init(_ value: Float, overflow: OverflowRule = .saturate) {
    let code = Self.format.encode(value, overflow: overflow)
    self.init(bitPattern: BitPattern(truncatingIfNeeded: code))
  }

  /// Rounds to nearest even in one step, never through `Float`; `overflow` decides what lies beyond
  /// the range. NaN keeps its sign and becomes the canonical quiet NaN.
  @inlinable
  public init(_ value: Double, overflow: OverflowRule = .saturate) {
    let code = Self.format.encode(value, overflow: overflow)
    self.init(bitPattern: BitPattern(truncatingIfNeeded: code))
  }

  /// The exact value.
  @inlinable
  public var float: Float { Self.format.decode(UInt32(truncatingIfNeeded: bitPattern)) }
}

extension Float {
  /// The exact value of a storage element.
  @inlinable
  public init(_ element: some MiniFloat) { self = element.float }
}

extension Double {
  /// The exact value of a storage element.
  @inlinable
  public init(_ element: some MiniFloat) { self = Double(element.float) }
}

// MARK: - Constants

extension MiniFloat {
  /// Positive zero.
  @inlinable public static var zero: Self { Self(bitPattern: 0) }

  /// The canonical NaN, positive.
  @inlinable public static var nan: Self { Self(code: format.nanCode) }

  /// The largest finite value.
  @inlinable public static var greatestFiniteMagnitude: Self {
    Self(code: format.greatestFiniteCode)
  }

  /// The smallest positive normal value, `2^(1 - bias)`.
  @inlinable public static var leastNormalMagnitude: Self {
    Self(code: 1 &<< UInt32(format.mantissaBits))
  }

  /// The smallest positive value, a subnormal: `2^(1 - bias - mantissaBits)`.
  @inlinable public static var leastNonzeroMagnitude: Self { Self(code: 1) }

  @inlinable
  init(code: UInt32) { self.init(bitPattern: BitPattern(truncatingIfNeeded: code)) }
}

// MARK: - Classification

extension MiniFloat {
  /// The code without its sign bit.
  @inlinable var magnitudeCode: UInt32 {
    UInt32(truncatingIfNeeded: bitPattern) & (Self.format.signBit &- 1)
  }

  /// The sign bit, meaningful for zeros and NaN too.
  @inlinable public var sign: FloatingPointSign {
    UInt32(truncatingIfNeeded: bitPattern) & Self.format.signBit == 0 ? .plus : .minus
  }

  /// Whether the value is zero, subnormal or normal.
  @inlinable public var isFinite: Bool { magnitudeCode <= Self.format.greatestFiniteCode }

  /// Whether the value is an infinity; never true for formats without one.
  @inlinable public var isInfinite: Bool {
    Self.format.hasInfinity && magnitudeCode == Self.format.overflowCode
  }

  /// Whether the value is NaN.
  @inlinable public var isNaN: Bool { !isFinite && !isInfinite }

  /// Whether the value is a zero of either sign.
  @inlinable public var isZero: Bool { magnitudeCode == 0 }

  /// Whether the value is nonzero and below `leastNormalMagnitude` in magnitude.
  @inlinable public var isSubnormal: Bool {
    !isZero && magnitudeCode &>> UInt32(Self.format.mantissaBits) == 0
  }

  /// Whether the value is finite, nonzero and not subnormal.
  @inlinable public var isNormal: Bool { isFinite && !isZero && !isSubnormal }

  /// The value as `Float` prints it; NaN as `nan` or `-nan`, without payload.
  public var description: String {
    if isNaN { return sign == .minus ? "-nan" : "nan" }
    return float.description
  }
}
