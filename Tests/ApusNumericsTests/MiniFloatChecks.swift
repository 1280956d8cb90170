import ApusNumerics
import ApusTestSupport
import Testing

/// What every storage type must satisfy, stated once against its oracle.
struct MiniFloatChecks<Element: MiniFloat> {
  let oracle: Oracle

  init(_ type: Element.Type, _ oracle: Oracle) { self.oracle = oracle }

  func widening() {
    var mismatches = Mismatches()
    for bits in Element.BitPattern.min...Element.BitPattern.max {
      let element = Element(bitPattern: bits)
      let expected = oracle.value(of: UInt32(bits))
      let found = Float(element)
      let sameSign = found.sign == expected.sign && element.sign == expected.sign
      let isSame = expected.isNaN ? found.isNaN : Double(found) == expected
      mismatches.check(
        isSame && sameSign && Double(element).bitPattern == Double(found).bitPattern,
        "code \(hex(bits)): found \(found), expected \(expected)")
    }
    mismatches.expectNone()
  }

  func classification() {
    var mismatches = Mismatches()
    let leastNormal = Double(sign: .plus, exponent: 1 - oracle.bias, significand: 1)
    for bits in Element.BitPattern.min...Element.BitPattern.max {
      let element = Element(bitPattern: bits)
      let value = oracle.value(of: UInt32(bits))
      let isSubnormal = value != 0 && value.magnitude < leastNormal
      mismatches.check(
        element.isNaN == value.isNaN && element.isInfinite == value.isInfinite
          && element.isFinite == value.isFinite && element.isZero == value.isZero
          && element.isSubnormal == isSubnormal
          && element.isNormal == (value.isFinite && value.magnitude >= leastNormal),
        "code \(hex(bits)), value \(value)")
    }
    mismatches.expectNone()
  }

  func constants() {
    expectEqual(Double(Element.greatestFiniteMagnitude), oracle.greatest, "greatest")
    expectEqual(Double(Element.leastNonzeroMagnitude), oracle.magnitudes[1], "least")
    let leastNormal = Double(sign: .plus, exponent: 1 - oracle.bias, significand: 1)
    expectEqual(Double(Element.leastNormalMagnitude), leastNormal, "least normal")
    expectEqual(UInt32(Element.nan.bitPattern), oracle.nan, "nan")
    expectEqual(Element.zero.bitPattern, 0, "zero")
  }

  /// Every code survives widening and narrowing; NaN codes become the canonical NaN of their sign,
  /// infinities survive where the rule lets them.
  func roundTrip() {
    withEvery("overflow", in: OverflowRule.allCases) { rule in
      var mismatches = Mismatches()
      for bits in Element.BitPattern.min...Element.BitPattern.max {
        let element = Element(bitPattern: bits)
        var expected = UInt32(bits)
        if element.isNaN {
          expected = expected & oracle.signBit | oracle.nan
        } else if element.isInfinite, rule == .saturate {
          expected -= 1
        }
        let found = Element(element.float, overflow: rule)
        mismatches.check(
          UInt32(found.bitPattern) == expected,
          "code \(hex(bits)): found \(found.bitPattern), expected \(expected)")
      }
      mismatches.expectNone()
    }
  }

  /// Every magnitude and every midpoint, with the nearest Floats and Doubles on both sides.
  func narrowingAtEveryBoundary() {
    var mismatches = Mismatches()
    for value in oracle.magnitudes + oracle.midpoints {
      let float = Float(value)
      // Exact except for the overflow threshold of formats as wide as binary32; there the
      // neighbours are what matters.
      for neighbour in [float.nextDown, float, float.nextUp] { check(neighbour, &mismatches) }
      for neighbour in [value.nextDown, value, value.nextUp] { check(neighbour, &mismatches) }
    }
    mismatches.expectNone()
  }

  func narrowingOfSpecialValues() {
    var mismatches = Mismatches()
    let floats: [Float] = [
      0, .leastNonzeroMagnitude, .leastNormalMagnitude, .leastNormalMagnitude.nextDown, 1, 0x1p60,
      .greatestFiniteMagnitude, .infinity, .nan, .signalingNaN,
      Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0x7FFF_FFFF),
      Float(bitPattern: 0x7FC1_2345), Float(oracle.greatest), Float(oracle.greatest) * 1.5,
    ]
    for value in floats { check(value, &mismatches) }
    let doubles: [Double] = [
      0, .leastNonzeroMagnitude, .leastNormalMagnitude, .leastNormalMagnitude.nextDown, 0x1p-149,
      0x1p-150, 1, 0x1p60, 0x1.FFFFFFp127, 0x1p128, .greatestFiniteMagnitude, .infinity, .nan,
      .signalingNaN, Double(bitPattern: 0x7FF0_0000_0000_0001),
      Double(bitPattern: 0x7FFF_FFFF_FFFF_FFFF), oracle.beyondGreatest, oracle.greatest * 4,
    ]
    for value in doubles { check(value, &mismatches) }
    mismatches.expectNone()
  }

  /// `count` patterns of each of four kinds: any Float, any Double, Floats within the exponent
  /// range, Doubles within it whose tail is close to a tie.
  func narrowingOfRandomPatterns(seed: UInt64, count: Int = 1 << 18) {
    print("\(Element.self) random patterns: seed \(seed)")
    var generator = SplitMix64(seed: seed)
    var mismatches = Mismatches()
    let exponents = UInt64(oracle.exponentBits == 8 ? 256 : 48)
    for _ in 0..<count {
      let bits = generator.next()
      checkSigned(Float(bitPattern: UInt32(truncatingIfNeeded: bits)), &mismatches)
      checkSigned(Double(bitPattern: generator.next()), &mismatches)

      let offset = Int(generator.next() % exponents) - Int(exponents) / 2
      let field = UInt32(max(0, min(254, offset + 127)))
      let float = Float(bitPattern: UInt32(truncatingIfNeeded: bits >> 41) | field << 23)
      checkSigned(bits & 4 == 0 ? float : -float, &mismatches)

      // Kept bits, the half bit, and at most one bit far below it.
      let kept = bits >> UInt64(64 - oracle.mantissaBits)
      let tail: UInt64 = bits & 1 == 0 ? 0 : 1 << (bits >> 8 & 31)
      let half: UInt64 = bits & 2 == 0 ? 0 : 1 << UInt64(51 - oracle.mantissaBits)
      let mantissa = kept << UInt64(52 - oracle.mantissaBits) | half | tail
      let double = Double(bitPattern: UInt64(offset + 1023) << 52 | mantissa)
      checkSigned(bits & 4 == 0 ? double : -double, &mismatches)
    }
    mismatches.expectNone()
  }

  /// A Double just past a midpoint rounds to the midpoint in Float and then, by the tie rule, back
  /// across it. One rounding does not.
  func doubleRoundingTraps() {
    var mismatches = Mismatches()
    for (code, midpoint) in oracle.midpoints.dropLast().enumerated() {
      let isEven = code % 2 == 0
      let value = isEven ? midpoint.nextUp : midpoint.nextDown
      let expected = isEven ? code + 1 : code
      let direct = Element(value)
      let throughFloat = Element(Float(value))
      mismatches.check(
        Int(direct.bitPattern) == expected && direct != throughFloat,
        "\(value): found \(direct.bitPattern), through Float \(throughFloat.bitPattern), "
          + "expected \(expected)")
    }
    mismatches.expectNone()
  }

  private func check(_ value: Float, _ mismatches: inout Mismatches) {
    checkSigned(value, &mismatches)
    checkSigned(-value, &mismatches)
  }

  private func check(_ value: Double, _ mismatches: inout Mismatches) {
    checkSigned(value, &mismatches)
    checkSigned(-value, &mismatches)
  }

  private func checkSigned(_ value: Float, _ mismatches: inout Mismatches) {
    // Double(value) may lose the sign of a NaN on some machines, so the oracle gets its own.
    let wide = value.isNaN ? Double(nanWithSign: value.sign) : Double(value)
    for rule in OverflowRule.allCases {
      let found = UInt32(Element(value, overflow: rule).bitPattern)
      let expected = oracle.nearest(wide, rule)
      mismatches.check(
        found == expected,
        "Float \(hex(value.bitPattern)) = \(value), \(rule): "
          + "found \(hex(found)), expected \(hex(expected))")
    }
  }

  private func checkSigned(_ value: Double, _ mismatches: inout Mismatches) {
    for rule in OverflowRule.allCases {
      let found = UInt32(Element(value, overflow: rule).bitPattern)
      let expected = oracle.nearest(value, rule)
      mismatches.check(
        found == expected,
        "Double \(hex(value.bitPattern)) = \(value), \(rule): "
          + "found \(hex(found)), expected \(hex(expected))")
    }
  }
}

extension Double {
  fileprivate init(nanWithSign sign: FloatingPointSign) {
    self.init(bitPattern: sign == .minus ? 0xFFF8_0000_0000_0000 : 0x7FF8_0000_0000_0000)
  }
}

func hex(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }
