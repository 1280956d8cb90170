import ApusNumerics
import ApusTestSupport
import Testing

struct BFloat16Tests {
  let checks = MiniFloatChecks(BFloat16.self, .bfloat16)

  @Test func `widens every code exactly`() { checks.widening() }

  @Test func `classifies every code`() { checks.classification() }

  @Test func `names its constants`() { checks.constants() }

  @Test func `every code survives the round trip`() { checks.roundTrip() }

  @Test func `rounds to nearest even at every boundary`() { checks.narrowingAtEveryBoundary() }

  @Test func `narrows zeros, infinities, NaN and far values`() {
    checks.narrowingOfSpecialValues()
  }

  @Test func `rounds random patterns to nearest even`() {
    checks.narrowingOfRandomPatterns(seed: 0xBF16)
  }

  @Test func `rounds a Double once`() { checks.doubleRoundingTraps() }

  @Test func `is the upper half of binary32, NaN bits included`() {
    var mismatches = Mismatches()
    for bits in UInt16.min...UInt16.max {
      let found = BFloat16(bitPattern: bits).float.bitPattern
      mismatches.check(found == UInt32(bits) << 16, "code \(hex(bits)): found \(hex(found))")
    }
    mismatches.expectNone()
  }

  @Test func `known values have known codes`() {
    expectEqual(BFloat16(Float(1)).bitPattern, 0x3F80)
    expectEqual(BFloat16(Float.pi).bitPattern, 0x4049)
    expectEqual(BFloat16(Float(1.00390625)).bitPattern, 0x3F80, "tie to even below")
    expectEqual(BFloat16(Float(1.01171875)).bitPattern, 0x3F82, "tie to even above")
    expectEqual(BFloat16.infinity.float, .infinity)
  }

  @Test func `the largest Float overflows`() {
    let value = Float.greatestFiniteMagnitude
    expectEqual(BFloat16(value, overflow: .nonSaturating).bitPattern, 0x7F80)
    expectEqual(BFloat16(value, overflow: .saturate).bitPattern, 0x7F7F)
    expectEqual(BFloat16(-value, overflow: .nonSaturating).bitPattern, 0xFF80)
    // Just under the tie between the largest value and 2^128.
    expectEqual(BFloat16(0x1.FEFFFEp127 as Float, overflow: .nonSaturating).bitPattern, 0x7F7F)
    expectEqual(BFloat16(0x1.FFp127 as Float, overflow: .nonSaturating).bitPattern, 0x7F80)
  }

  @Test func `a NaN whose payload lies in the lower half stays NaN`() {
    expectEqual(BFloat16(Float(bitPattern: 0x7F80_0001)).bitPattern, 0x7FC0)
    expectEqual(BFloat16(Float(bitPattern: 0xFFFF_FFFF)).bitPattern, 0xFFC0)
  }
}
