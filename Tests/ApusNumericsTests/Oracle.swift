import ApusNumerics

/// The definition of a storage format, written apart from the library: every finite magnitude as a
/// Double, and rounding as a search among them.
struct Oracle {
  let exponentBits: Int
  let mantissaBits: Int
  let bias: Int
  let hasInfinity: Bool
  /// Code of the canonical NaN.
  let nan: UInt32
  /// Code of a non-saturating overflow.
  let overflow: UInt32
  /// Value of each finite non-negative code, in the order of the codes.
  let magnitudes: [Double]

  static let half = Oracle(5, 10, bias: 15, hasInfinity: true, nan: 0x7E00, overflow: 0x7C00)
  static let bfloat16 = Oracle(8, 7, bias: 127, hasInfinity: true, nan: 0x7FC0, overflow: 0x7F80)
  static let e4m3 = Oracle(4, 3, bias: 7, hasInfinity: false, nan: 0x7F, overflow: 0x7F)
  static let e5m2 = Oracle(5, 2, bias: 15, hasInfinity: true, nan: 0x7E, overflow: 0x7C)

  init(
    _ exponentBits: Int, _ mantissaBits: Int, bias: Int, hasInfinity: Bool, nan: UInt32,
    overflow: UInt32
  ) {
    self.exponentBits = exponentBits
    self.mantissaBits = mantissaBits
    self.bias = bias
    self.hasInfinity = hasInfinity
    self.nan = nan
    self.overflow = overflow
    magnitudes = (0..<overflow).map { code in
      let exponentField = Int(code) / (1 << mantissaBits)
      let mantissaField = Int(code) % (1 << mantissaBits)
      let unit = Double(sign: .plus, exponent: -mantissaBits, significand: 1)
      let fraction = Double(mantissaField) * unit
      return exponentField == 0
        ? Double(sign: .plus, exponent: 1 - bias, significand: 1) * fraction
        : Double(sign: .plus, exponent: exponentField - bias, significand: 1) * (1 + fraction)
    }
  }

  var signBit: UInt32 { 1 << UInt32(exponentBits + mantissaBits) }

  var greatest: Double { magnitudes[magnitudes.count - 1] }

  /// What would follow the largest finite value if the exponent range went on.
  var beyondGreatest: Double { 2 * greatest - magnitudes[magnitudes.count - 2] }

  /// The value of a code, signed zeros and infinities included; NaN for NaN codes.
  func value(of code: UInt32) -> Double {
    let magnitude = code & (signBit - 1)
    let value: Double
    if magnitude < magnitudes.count {
      value = magnitudes[Int(magnitude)]
    } else {
      value = hasInfinity && magnitude == overflow ? .infinity : .nan
    }
    return code & signBit == 0 ? value : -value
  }

  /// The code whose value is nearest to `value`, ties to the even code.
  func nearest(_ value: Double, _ rule: OverflowRule) -> UInt32 {
    let sign = value.sign == .minus ? signBit : 0
    if value.isNaN { return sign | nan }
    let index = nearestIndex(value.magnitude)
    if index < magnitudes.count { return sign | UInt32(index) }
    return sign | (rule == .saturate ? UInt32(magnitudes.count - 1) : overflow)
  }

  /// Index of the nearest magnitude; `magnitudes.count` stands for everything beyond.
  private func nearestIndex(_ value: Double) -> Int {
    // Bisect for the last magnitude not above the value.
    var low = 0
    var high = magnitudes.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if magnitudes[middle] <= value { low = middle } else { high = middle }
    }
    let above = low + 1 < magnitudes.count ? magnitudes[low + 1] : beyondGreatest
    // One bit more than the format has: exact in a Double, so the comparison is exact too.
    let midpoint = (magnitudes[low] + above) / 2
    if value < midpoint { return low }
    if value > midpoint { return low + 1 }
    return low % 2 == 0 ? low : low + 1
  }

  /// The midpoints between neighbouring magnitudes, the overflow threshold last.
  var midpoints: [Double] {
    zip(magnitudes, magnitudes.dropFirst() + [beyondGreatest]).map { ($0 + $1) / 2 }
  }
}
