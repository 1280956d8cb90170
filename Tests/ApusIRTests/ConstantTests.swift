import ApusIR
import ApusNumerics
import Testing

@Suite struct ConstantTests {
  @Test func `bits beyond the width are dropped`() {
    #expect(Constant(type: .u16, bits: 0x1_2345) == .u16(0x2345))
    #expect(Constant(type: .pred, bits: 2) == .pred(false))
    #expect(Constant.integer(-1, as: .u32) == .u32(.max))
  }

  @Test func `signed types extend their sign`() {
    #expect(Constant.s32(-5).integer == -5)
    #expect(Constant.u32(0xFFFF_FFFB).integer == 0xFFFF_FFFB)
    #expect(Constant.s64(-5).integer == -5)
    #expect(Constant.u64(.max).integer == nil)
    #expect(Constant.f32(1).integer == nil)
  }

  @Test func `literals are decimal where a decimal is exact`() {
    let constants: [Constant] = [
      .pred(true), .u16(7), .u32(.max), .s32(-3), .s64(-4), .f32(0.5), .f32(-.infinity),
      .f16(Half(1.5)), .bf16(BFloat16(-2)), .bf16x2(BFloat16(1), BFloat16(2)), .f32(.nan),
    ]
    #expect(
      constants.map(\.description) == [
        "true", "7", "4294967295", "-3", "-4", "0.5", "0xff800000", "1.5", "-2.0", "0x40003f80",
        "0x7fc00000",
      ])
  }

  @Test func `equality compares patterns`() {
    #expect(Constant.f32(0) != .f32(-0.0))
    #expect(Constant.f32(.nan) == .f32(.nan))
    #expect(Constant.f16x2(Half(1), Half(0)) != .f16x2(Half(0), Half(1)))
  }
}
