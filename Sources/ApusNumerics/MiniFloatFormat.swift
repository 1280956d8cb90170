/// A binary storage format: sign, exponent and mantissa fields, most significant first.
///
/// A code with exponent field `E > 0` and mantissa field `M` means `2^(E - bias) * (1 + M / 2^m)`;
/// with `E = 0` it means `2^(1 - bias) * M / 2^m`. The all-ones exponent holds infinity and NaN
/// where `hasInfinity` is true (IEEE 754-2019, section 3.4); otherwise it is an ordinary exponent
/// and only the all-ones magnitude is NaN (OCP OFP8 1.0, E4M3).
///
/// Finite magnitudes are ordered like their codes, and the code after the largest finite one is
/// where rounding overflows. One narrowing and one widening algorithm, below, serve every format.
@frozen
public struct MiniFloatFormat: Sendable, Hashable {
  /// Width of the exponent field in bits.
  public let exponentBits: Int
  /// Width of the mantissa field in bits, `m` in the formulas.
  public let mantissaBits: Int
  /// Exponent bias.
  public let bias: Int
  /// Whether the all-ones exponent means infinity and NaN.
  public let hasInfinity: Bool

  @inlinable
  init(exponentBits: Int, mantissaBits: Int, bias: Int, hasInfinity: Bool) {
    self.exponentBits = exponentBits
    self.mantissaBits = mantissaBits
    self.bias = bias
    self.hasInfinity = hasInfinity
  }

  // Computed, not stored: the optimiser folds the fields into each specialised conversion.

  /// IEEE 754 binary32.
  @inlinable public static var binary32: Self {
    Self(exponentBits: 8, mantissaBits: 23, bias: 127, hasInfinity: true)
  }

  /// IEEE 754 binary16.
  @inlinable public static var binary16: Self {
    Self(exponentBits: 5, mantissaBits: 10, bias: 15, hasInfinity: true)
  }

  /// bfloat16: binary32 without its lower 16 mantissa bits.
  @inlinable public static var bfloat16: Self {
    Self(exponentBits: 8, mantissaBits: 7, bias: 127, hasInfinity: true)
  }

  /// OCP OFP8 E4M3.
  @inlinable public static var e4m3: Self {
    Self(exponentBits: 4, mantissaBits: 3, bias: 7, hasInfinity: false)
  }

  /// OCP OFP8 E5M2.
  @inlinable public static var e5m2: Self {
    Self(exponentBits: 5, mantissaBits: 2, bias: 15, hasInfinity: true)
  }
}

// MARK: - Codes

extension MiniFloatFormat {
  /// Bits of a code.
  @inlinable public var bitWidth: Int { 1 + exponentBits + mantissaBits }

  /// The sign bit.
  @inlinable public var signBit: UInt32 { 1 &<< UInt32(exponentBits &+ mantissaBits) }

  /// The canonical NaN without its sign: quiet, all other payload bits clear.
  @inlinable public var nanCode: UInt32 {
    hasInfinity ? overflowCode | 1 &<< UInt32(mantissaBits &- 1) : signBit &- 1
  }

  /// What a non-saturating overflow produces, without its sign: infinity, or NaN where the format
  /// has none.
  @inlinable public var overflowCode: UInt32 {
    hasInfinity ? signBit &- (1 &<< UInt32(mantissaBits)) : signBit &- 1
  }

  /// The largest finite magnitude: the code below the overflow code.
  @inlinable public var greatestFiniteCode: UInt32 { overflowCode &- 1 }

  /// Exponent of the smallest normal value, `1 - bias`.
  @inlinable public var leastExponent: Int { 1 &- bias }

  /// Exponent of the largest finite value.
  @inlinable public var greatestExponent: Int {
    Int(greatestFiniteCode &>> UInt32(mantissaBits)) &- bias
  }
}

// MARK: - Conversions

extension MiniFloatFormat {
  /// The code nearest to `value`, ties to the even code; NaN becomes the canonical NaN with the
  /// sign of `value`.
  @inlinable
  public func encode(_ value: Float, overflow: OverflowRule) -> UInt32 {
    // Widening the magnitude is exact, so the only rounding is the one below; the sign travels
    // beside it because not every machine keeps the sign of a NaN it converts.
    round(
      magnitudeBits: Double(value.magnitude).bitPattern,
      sign: value.sign == .minus ? signBit : 0, overflow: overflow)
  }

  /// The code nearest to `value`, ties to the even code, in one rounding; NaN becomes the canonical
  /// NaN with the sign of `value`.
  @inlinable
  public func encode(_ value: Double, overflow: OverflowRule) -> UInt32 {
    round(
      magnitudeBits: value.magnitude.bitPattern,
      sign: value.sign == .minus ? signBit : 0, overflow: overflow)
  }

  /// Rounds a binary64 magnitude.
  ///
  /// The 53-bit significand is shifted right until its unit is the target's ulp: by `52 - m` for
  /// normal results, further by the distance to `leastExponent` for subnormal ones. Adding
  /// `half - 1 + (lowest kept bit)` first makes the shift round to nearest even. The implicit bit
  /// then adds one to the exponent field, and so does a carry out of the mantissa, which is right
  /// at every boundary: subnormal to normal, binade to binade, largest finite to overflow.
  @inlinable
  func round(magnitudeBits: UInt64, sign: UInt32, overflow: OverflowRule) -> UInt32 {
    if magnitudeBits > 0x7FF0_0000_0000_0000 { return sign | nanCode }
    let exponent = Int(magnitudeBits &>> 52) &- 1023
    let resultExponent = max(exponent, leastExponent)
    // Every shift from 54 on gives 0. That covers binary64 zeros and subnormals, which have no
    // implicit bit to set below: they lie far under half the smallest value of any format.
    let shift = UInt64(min(52 &- mantissaBits &+ resultExponent &- exponent, 54))
    let significand = magnitudeBits & 0x000F_FFFF_FFFF_FFFF | 0x0010_0000_0000_0000
    let half: UInt64 = 1 &<< (shift &- 1)
    let rounded = (significand &+ half &- 1 &+ ((significand &>> shift) & 1)) &>> shift
    let field = UInt64(resultExponent &- leastExponent) &<< UInt64(mantissaBits)
    let code = field &+ rounded
    if code > UInt64(greatestFiniteCode) {
      return sign | (overflow == .saturate ? greatestFiniteCode : overflowCode)
    }
    return sign | UInt32(truncatingIfNeeded: code)
  }

  /// The exact value of a code; bits above `bitWidth` are ignored.
  ///
  /// A NaN keeps its sign. Formats with the exponent field of binary32 keep every NaN bit, binary16
  /// and E5M2 keep the payload and set the quiet bit, as hardware conversions do, and the one
  /// magnitude that is NaN in E4M3 becomes the canonical NaN.
  @inlinable
  public func decode(_ code: UInt32) -> Float {
    let magnitude = code & (signBit &- 1)
    let sign = (code & signBit) &<< UInt32(32 &- bitWidth)
    let shifted = magnitude &<< UInt32(23 &- mantissaBits)
    if bias == 127 { return Float(bitPattern: sign | shifted) }
    // Selects instead of branches: real data mixes all classes, and this is the inner loop.
    let rebias = UInt32(127 &- bias) &<< 23
    let normal = shifted &+ rebias
    // As the fraction of the smallest normal value a subnormal reads 2^(1 - bias) * (1 + M/2^m);
    // taking the 1 away again is exact and, unlike scaling a binary32 subnormal, survives
    // flush-to-zero modes.
    let one = rebias &+ 0x0080_0000
    let subnormal = (Float(bitPattern: shifted &+ one) - Float(bitPattern: one)).bitPattern
    let finite = shifted < 0x0080_0000 ? subnormal : normal
    let special = hasInfinity ? finite | 0x7F80_0000 : 0x7F80_0000
    let quiet: UInt32 = magnitude > overflowCode || !hasInfinity ? 0x0040_0000 : 0
    return Float(
      bitPattern: sign | (magnitude > greatestFiniteCode ? special | quiet : finite))
  }
}
