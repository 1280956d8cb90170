extension ElementType {
  /// The spacing of representable values around `value`: `2^(e - mantissaBits)`.
  ///
  /// `e` is the exponent of `value`, raised to the smallest normal exponent for zero and
  /// subnormals and lowered to that of the largest finite value beyond the range. `value` need not
  /// be representable. NaN for infinities and NaN.
  public func ulp(of value: Double) -> Double {
    guard value.isFinite else { return .nan }
    let format = format
    let exponent = min(max(value.exponent, format.leastExponent), format.greatestExponent)
    return Double(sign: .plus, exponent: exponent - format.mantissaBits, significand: 1)
  }
}

extension Float {
  /// The number of representable steps from `self` to `other`, in either direction; nil if either
  /// is NaN.
  ///
  /// Both zeros are one point, and infinity is one step beyond the largest finite value.
  public func ulpDistance(to other: Float) -> Int? {
    guard !isNaN, !other.isNaN else { return nil }
    return abs(ulpPosition - other.ulpPosition)
  }

  /// Position on the line of representable values, 0 at both zeros.
  private var ulpPosition: Int {
    let magnitude = Int(magnitude.bitPattern)
    return sign == .minus ? -magnitude : magnitude
  }
}
