import ApusNumerics
import ApusTestSupport
import Testing

struct HalfTests {
  let checks = MiniFloatChecks(Half.self, .half)

  @Test func `widens every code exactly`() { checks.widening() }

  @Test func `classifies every code`() { checks.classification() }

  @Test func `names its constants`() { checks.constants() }

  @Test func `every code survives the round trip`() { checks.roundTrip() }

  @Test func `rounds to nearest even at every boundary`() { checks.narrowingAtEveryBoundary() }

  @Test func `narrows zeros, infinities, NaN and far values`() {
    checks.narrowingOfSpecialValues()
  }

  @Test func `rounds random patterns to nearest even`() {
    checks.narrowingOfRandomPatterns(seed: 0xF16)
  }

  @Test func `rounds a Double once`() { checks.doubleRoundingTraps() }

  @Test func `known values have known codes`() {
    expectEqual(Half(Float(1)).bitPattern, 0x3C00)
    expectEqual(Half(Float(-2)).bitPattern, 0xC000)
    expectEqual(Half(Float(65504)).bitPattern, 0x7BFF)
    expectEqual(Half(Float(1) / 3).bitPattern, 0x3555)
    expectEqual(Half(0x1p-24 as Float).bitPattern, 0x0001)
    expectEqual(Half.infinity.float, .infinity)
  }

  @Test func `overflow begins at the tie above the largest value`() {
    expectEqual(Half(Float(65519.996), overflow: .nonSaturating).bitPattern, 0x7BFF)
    expectEqual(Half(Float(65520), overflow: .nonSaturating).bitPattern, 0x7C00)
    expectEqual(Half(Float(65520), overflow: .saturate).bitPattern, 0x7BFF)
    expectEqual(Half(-Float.infinity, overflow: .saturate).bitPattern, 0xFBFF)
    expectEqual(Half(-Float.infinity, overflow: .nonSaturating).bitPattern, 0xFC00)
  }

  @Test func `describes itself as Float does, NaN without payload`() {
    expectEqual(Half(Float(1.5)).description, "1.5")
    expectEqual(Half(bitPattern: 0x8000).description, "-0.0")
    expectEqual(Half(bitPattern: 0xFC00).description, "-inf")
    expectEqual(Half(bitPattern: 0x7C01).description, "nan")
    expectEqual(Half(bitPattern: 0xFE00).description, "-nan")
  }

  @Test func `equality compares codes`() {
    #expect(Half.nan == Half.nan)
    #expect(Half(Float(0)) != Half(-Float(0)))
    #expect(Set([Half.zero, Half(Float(0)), Half(-Float(0))]).count == 2)
  }

  // Swift offers no Float16 on macOS for x86-64.
  #if !(os(macOS) && arch(x86_64))
    @Test func `agrees with Float16 on every code`() {
      var mismatches = Mismatches()
      for bits in UInt16.min...UInt16.max {
        let expected = Float(Float16(bitPattern: bits))
        let found = Half(bitPattern: bits).float
        mismatches.check(
          expected.isNaN
            ? found.isNaN && found.sign == expected.sign
            : found.bitPattern == expected.bitPattern,
          "code \(hex(bits)): found \(found), expected \(expected)")
      }
      mismatches.expectNone()
    }

    @Test func `agrees with Float16 on random Floats and Doubles`() {
      let seed: UInt64 = 0xF1616
      print("Half against Float16: seed \(seed)")
      var generator = SplitMix64(seed: seed)
      var mismatches = Mismatches()
      for _ in 0..<(1 << 18) {
        // Exponents -31...32: every class of result.
        let bits = generator.next()
        let exponent = Int(bits & 63) - 31
        let float = Float(
          sign: .plus, exponent: exponent,
          significand: 1 + Float(bits >> 41) * 0x1p-23)
        let double = Double(
          sign: .minus, exponent: exponent,
          significand: 1 + Double(bits >> 12) * 0x1p-52)
        mismatches.check(
          Half(float, overflow: .nonSaturating).bitPattern == Float16(float).bitPattern,
          "Float \(float)")
        mismatches.check(
          Half(double, overflow: .nonSaturating).bitPattern == Float16(double).bitPattern,
          "Double \(double)")
      }
      mismatches.expectNone()
    }
  #endif

  @Test func `literals round once and saturate`() {
    let one: Half = 1
    #expect(one.bitPattern == 0x3C00)
    #expect(Half(1.5).bitPattern == 0x3E00)
    #expect(Float8E4M3(1000.0).bitPattern == 0x7E)
    #expect((-2 as BFloat16).bitPattern == 0xC000)
  }
}
