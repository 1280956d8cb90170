import ApusNumerics
import ApusTestSupport
import Testing

struct MiniFloatFormatTests {
  @Test func `codes follow from the fields`() {
    let format = MiniFloatFormat.binary32
    expectEqual(format.signBit, 0x8000_0000)
    expectEqual(format.overflowCode, Float.infinity.bitPattern)
    expectEqual(format.nanCode, Float.nan.bitPattern)
    expectEqual(format.greatestFiniteCode, Float.greatestFiniteMagnitude.bitPattern)
    expectEqual(MiniFloatFormat.e4m3.greatestExponent, 8)
    expectEqual(MiniFloatFormat.e4m3.leastExponent, -6)
    expectEqual(MiniFloatFormat.e5m2.greatestExponent, 15)
    expectEqual(MiniFloatFormat.binary16.leastExponent, -14)
    expectEqual(MiniFloatFormat.bfloat16.greatestExponent, 127)
  }

  /// The one format whose rounding the hardware can check.
  @Test func `binary32 rounds Doubles as the hardware does`() {
    let seed: UInt64 = 0xF32
    print("binary32 against Float(Double): seed \(seed)")
    var generator = SplitMix64(seed: seed)
    var mismatches = Mismatches()
    let format = MiniFloatFormat.binary32
    for _ in 0..<(1 << 18) {
      let bits = generator.next()
      // Exponents -160...159: below the subnormals to beyond the range; ties in half the cases.
      let exponent = UInt64(1023 - 160 + Int(generator.next() % 320))
      let mantissa = bits & 1 == 0 ? bits >> 12 : (bits >> 41) << 29 | 1 << 28
      let value = Double(bitPattern: exponent << 52 | mantissa)
      mismatches.check(
        format.encode(value, overflow: .nonSaturating) == Float(value).bitPattern
          && format.encode(-value, overflow: .nonSaturating) == (-Float(value)).bitPattern,
        "Double \(hex(value.bitPattern)) = \(value)")
    }
    mismatches.expectNone()
  }

  @Test func `binary32 decodes every kind of code to itself`() {
    let codes: [UInt32] = [
      0, 1, 0x007F_FFFF, 0x0080_0000, 0x3F80_0000, 0x7F7F_FFFF, 0x7F80_0000, 0x7FC0_0000,
    ]
    withEvery("code", in: codes) { code in
      expectEqual(MiniFloatFormat.binary32.decode(code).bitPattern, code)
      expectEqual(
        MiniFloatFormat.binary32.decode(code | 0x8000_0000).bitPattern, code | 0x8000_0000)
    }
  }

  @Test func `bits above the width are ignored`() {
    expectEqual(MiniFloatFormat.e4m3.decode(0xFFFF_FF38), 1)
    expectEqual(MiniFloatFormat.binary16.decode(0xABCD_3C00), 1)
  }
}
