import ApusNumerics
import ApusTestSupport
import Testing

struct Float8E4M3Tests {
  let checks = MiniFloatChecks(Float8E4M3.self, .e4m3)

  @Test func `widens every code exactly`() { checks.widening() }

  @Test func `classifies every code`() { checks.classification() }

  @Test func `names its constants`() { checks.constants() }

  @Test func `every code survives the round trip`() { checks.roundTrip() }

  @Test func `rounds to nearest even at every boundary`() { checks.narrowingAtEveryBoundary() }

  @Test func `narrows zeros, infinities, NaN and far values`() {
    checks.narrowingOfSpecialValues()
  }

  @Test func `rounds random patterns to nearest even`() {
    checks.narrowingOfRandomPatterns(seed: 0xE4A3)
  }

  @Test func `rounds a Double once`() { checks.doubleRoundingTraps() }

  @Test func `known values have known codes`() {
    expectEqual(Float8E4M3(Float(1)).bitPattern, 0x38)
    expectEqual(Float8E4M3(Float(-448)).bitPattern, 0xFE)
    expectEqual(Float8E4M3(0x1p-9 as Float).bitPattern, 0x01)
    expectEqual(Float8E4M3(bitPattern: 0x7F).description, "nan")
    expectEqual(Float8E4M3(bitPattern: 0xFF).description, "-nan")
    expectEqual(Float8E4M3(bitPattern: 0x78).float, 256, "an ordinary exponent")
  }

  @Test func `464 is the last value that rounds to 448`() {
    expectEqual(Float8E4M3(Float(464), overflow: .nonSaturating).bitPattern, 0x7E)
    expectEqual(Float8E4M3(Float(464).nextUp, overflow: .nonSaturating).bitPattern, 0x7F)
    expectEqual(Float8E4M3(Double(464).nextUp, overflow: .nonSaturating).bitPattern, 0x7F)
    expectEqual(Float8E4M3(-Float(464).nextUp, overflow: .nonSaturating).bitPattern, 0xFF)
    expectEqual(Float8E4M3(Float(464).nextUp, overflow: .saturate).bitPattern, 0x7E)
  }

  @Test func `infinity saturates or becomes NaN`() {
    expectEqual(Float8E4M3(Float.infinity, overflow: .saturate).bitPattern, 0x7E)
    expectEqual(Float8E4M3(-Double.infinity, overflow: .saturate).bitPattern, 0xFE)
    expectEqual(Float8E4M3(Float.infinity, overflow: .nonSaturating).bitPattern, 0x7F)
    expectEqual(Float8E4M3(-Double.infinity, overflow: .nonSaturating).bitPattern, 0xFF)
    expectEqual(Float8E4M3(Float.nan, overflow: .saturate).bitPattern, 0x7F)
  }

  @Test func `NaN widens to the canonical NaN`() {
    expectEqual(Float8E4M3(bitPattern: 0x7F).float.bitPattern, 0x7FC0_0000)
    expectEqual(Float8E4M3(bitPattern: 0xFF).float.bitPattern, 0xFFC0_0000)
  }
}

struct Float8E5M2Tests {
  let checks = MiniFloatChecks(Float8E5M2.self, .e5m2)

  @Test func `widens every code exactly`() { checks.widening() }

  @Test func `classifies every code`() { checks.classification() }

  @Test func `names its constants`() { checks.constants() }

  @Test func `every code survives the round trip`() { checks.roundTrip() }

  @Test func `rounds to nearest even at every boundary`() { checks.narrowingAtEveryBoundary() }

  @Test func `narrows zeros, infinities, NaN and far values`() {
    checks.narrowingOfSpecialValues()
  }

  @Test func `rounds random patterns to nearest even`() {
    checks.narrowingOfRandomPatterns(seed: 0xE5A2)
  }

  @Test func `rounds a Double once`() { checks.doubleRoundingTraps() }

  @Test func `is the upper half of binary16, NaN bits included`() {
    var mismatches = Mismatches()
    for bits in UInt8.min...UInt8.max {
      let found = Float8E5M2(bitPattern: bits).float.bitPattern
      let expected = Half(bitPattern: UInt16(bits) << 8).float.bitPattern
      mismatches.check(found == expected, "code \(hex(bits)): found \(hex(found))")
    }
    mismatches.expectNone()
  }

  @Test func `NaN widens to a quiet NaN with its payload`() {
    expectEqual(Float8E5M2(bitPattern: 0x7D).float.bitPattern, 0x7FE0_0000)
    expectEqual(Float8E5M2(bitPattern: 0xFE).float.bitPattern, 0xFFC0_0000)
  }

  @Test func `known values have known codes`() {
    expectEqual(Float8E5M2(Float(1)).bitPattern, 0x3C)
    expectEqual(Float8E5M2(Float(-57344)).bitPattern, 0xFB)
    expectEqual(Float8E5M2(0x1p-16 as Float).bitPattern, 0x01)
    expectEqual(Float8E5M2.infinity.float, .infinity)
  }

  @Test func `overflow begins at the tie above the largest value`() {
    expectEqual(Float8E5M2(Float(61440).nextDown, overflow: .nonSaturating).bitPattern, 0x7B)
    expectEqual(Float8E5M2(Float(61440), overflow: .nonSaturating).bitPattern, 0x7C)
    expectEqual(Float8E5M2(Float(61440), overflow: .saturate).bitPattern, 0x7B)
  }
}
