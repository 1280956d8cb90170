import ApusIR
import ApusNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Floating-point functions with the roundings that `Op` names.
package enum FloatMath {
  /// x + y rounded to odd: rounding the result again, to at most 51 bits and in any direction,
  /// gives what one rounding of the exact sum gives (Boldo and Melquiond, "Emulation of FMA and
  /// correctly rounded sums: proved algorithms using rounding to odd", IEEE TC 2008).
  static func oddSum(_ x: Double, _ y: Double) -> Double {
    let sum = x + y
    guard sum.isFinite else { return sum }
    let back = sum - x
    let error = (x - (sum - back)) + (y - back)  // Knuth's two-sum: exact
    if error == 0 || sum.bitPattern & 1 == 1 { return sum }
    return error > 0 ? sum.nextUp : sum.nextDown
  }

  static func round(_ value: Double, _ rounding: Op.Rounding) -> Float {
    let nearest = Float(value)
    let wide = Double(nearest)
    guard wide != value, !value.isNaN else { return nearest }
    switch rounding {
    case .nearestEven: return nearest
    case .towardZero:
      if wide.magnitude < value.magnitude { return nearest }
      return nearest > 0 ? nearest.nextDown : nearest.nextUp
    case .down: return wide > value ? nearest.nextDown : nearest
    case .up: return wide < value ? nearest.nextUp : nearest
    }
  }

  static func add(_ a: Float, _ b: Float, _ rounding: Op.Rounding) -> Float {
    sum(Double(a), Double(b), rounding)
  }

  static func multiply(_ a: Float, _ b: Float, _ rounding: Op.Rounding) -> Float {
    round(Double(a) * Double(b), rounding)  // the product is exact: 48 bits
  }

  static func fma(_ a: Float, _ b: Float, _ c: Float, _ rounding: Op.Rounding) -> Float {
    sum(Double(a) * Double(b), Double(c), rounding)
  }

  private static func sum(_ x: Double, _ y: Double, _ rounding: Op.Rounding) -> Float {
    let sum = oddSum(x, y)
    // IEEE 754: an exact zero from opposite signs is −0 in the downward direction only.
    if sum == 0, x.sign != y.sign { return rounding == .down ? -0.0 : 0.0 }
    return round(sum, rounding)
  }

  static func integral(_ value: Float, _ rounding: Op.Rounding) -> Float {
    switch rounding {
    case .nearestEven: value.rounded(.toNearestOrEven)
    case .towardZero: value.rounded(.towardZero)
    case .down: value.rounded(.down)
    case .up: value.rounded(.up)
    }
  }

  static func toInteger<T: FixedWidthInteger>(_ value: Float, _ rounding: Op.Rounding) -> T {
    if value.isNaN { return 0 }
    let whole = integral(value, rounding)
    return T(exactly: whole) ?? (whole < 0 ? T.min : T.max)
  }

  /// Subnormals to zero of the same sign.
  static func flush(_ value: Float) -> Float {
    value.isSubnormal ? (value.sign == .minus ? -0.0 : 0.0) : value
  }

  /// The function, correctly rounded up to the C library's double precision.
  static func approximate(_ function: Op.ApproximateFunction, _ value: Float) -> Float {
    if function == .tanh { return Float(tanh(Double(value))) }
    let x = Double(flush(value))
    let result =
      switch function {
      case .ex2: exp2(x)
      case .lg2: x < 0 ? Double.nan : log2(x)
      case .rcp: 1 / x
      case .rsqrt: 1 / x.squareRoot()
      case .sqrt: x.squareRoot()
      case .tanh: tanh(x)
      case .sin: sin(x)
      case .cos: cos(x)
      }
    return flush(Float(result))
  }

  /// The f16 and bf16 forms of `ex2` and `tanh`.
  static func approximate16(
    _ function: Op.ApproximateFunction, _ value: Float, isBrain: Bool
  ) -> Double {
    if function == .tanh { return tanh(Double(value)) }
    let result = exp2(Double(isBrain ? flush(value) : value))
    return isBrain && result < 0x1p-126 ? 0 : result
  }

  // MARK: - Minimum and maximum

  /// −0 < +0; NaN loses, or wins with `propagatesNaN`.
  static func extremum(_ a: Float, _ b: Float, isMax: Bool, propagatesNaN: Bool) -> Float {
    if a.isNaN || b.isNaN {
      if propagatesNaN || (a.isNaN && b.isNaN) { return .nan }
      return a.isNaN ? b : a
    }
    if a == b { return (a.sign == .minus) == isMax ? b : a }
    return (a < b) == isMax ? b : a
  }

  static func compare(_ comparison: Op.Comparison, _ a: Float, _ b: Float) -> Bool {
    switch comparison {
    case .eq: a == b
    case .ne: a < b || a > b
    case .lt: a < b
    case .le: a <= b
    case .gt: a > b
    case .ge: a >= b
    case .equ: !(a < b || a > b)
    case .neu: a != b
    case .ltu: !(a >= b)
    case .leu: !(a > b)
    case .gtu: !(a <= b)
    case .geu: !(a < b)
    case .num: !a.isNaN && !b.isNaN
    case .nan: a.isNaN || b.isNaN
    }
  }

  static func compare<T: Comparable>(_ comparison: Op.Comparison, _ a: T, _ b: T) -> Bool {
    switch comparison {
    case .eq, .equ: a == b
    case .ne, .neu: a != b
    case .lt, .ltu: a < b
    case .le, .leu: a <= b
    case .gt, .gtu: a > b
    case .ge, .geu: a >= b
    case .num: true
    case .nan: false
    }
  }

  // MARK: - 16-bit elements

  /// Exact value of an f16 or bf16 pattern.
  static func widen(_ bits: UInt32, _ type: ValueType) -> Float {
    let code = UInt16(truncatingIfNeeded: bits)
    return type.elementType == .f16
      ? Half(bitPattern: code).float : BFloat16(bitPattern: code).float
  }

  /// f16 or bf16 pattern nearest to a binary32 value: by adding half of the last kept bit where the
  /// result is a normal number (bf16: anything but NaN), else through `narrow`.
  @inline(__always)
  package static func narrow(_ value: Float, isBrain: Bool) -> UInt32 {
    let bits = value.bitPattern
    if isBrain {
      guard !value.isNaN else { return narrow(Double(value), .bf16) }
      return (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16
    }
    guard value.magnitude >= 0x1p-14, value.magnitude < 65_520 else {
      return narrow(Double(value), .f16)
    }
    let rounded = (bits & 0x7FFF_FFFF) &+ 0xFFF &+ (bits >> 13 & 1)
    return (rounded >> 13) &- 112 << 10 | (bits >> 31) << 15
  }

  /// f16 or bf16 pattern nearest to a value; ±∞ beyond the range.
  static func narrow(_ value: Double, _ type: ValueType) -> UInt32 {
    type.elementType == .f16
      ? UInt32(Half(value, overflow: .nonSaturating).bitPattern)
      : UInt32(BFloat16(value, overflow: .nonSaturating).bitPattern)
  }
}
