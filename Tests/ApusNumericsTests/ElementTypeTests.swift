import ApusNumerics
import ApusTestSupport
import Testing

struct ElementTypeTests {
  @Test func `constants agree with the format`() {
    withEvery("type", in: ElementType.allCases) { type in
      let format = type.format
      expectEqual(type.byteCount * 8, format.bitWidth, "width")
      expectEqual(type.mantissaBits, format.mantissaBits, "mantissa bits")
      expectEqual(
        type.unitRoundoff,
        Double(sign: .plus, exponent: -(format.mantissaBits + 1), significand: 1), "roundoff")
      expectEqual(
        type.greatestFiniteMagnitude, format.decode(format.greatestFiniteCode), "greatest")
      expectEqual(type.leastNonzeroMagnitude, format.decode(1), "least")
    }
  }

  @Test func `names round-trip and unknown names are refused`() {
    withEvery("type", in: ElementType.allCases) { type in
      expectEqual(ElementType(type.description), type)
    }
    #expect(ElementType.allCases.map(\.description) == ["f32", "f16", "bf16", "e4m3", "e5m2"])
    #expect(ElementType("F16") == nil)
    #expect(ElementType("") == nil)
  }
}
