import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct BitsTests {
  private func column(_ type: ValueType, _ head: [UInt64]) -> (type: ValueType, bits: [UInt64]) {
    (type, head + Array(repeating: 0, count: 32 - head.count))
  }

  @Test func `shifts take every amount`() {
    let amounts = column(.u32, [0, 1, 31, 32, 33, 0xFFFF_FFFF])
    let word = column(.u32, Array(repeating: 0x8000_0001, count: 6))
    let signed = column(.s32, Array(repeating: 0x8000_0001, count: 6))
    #expect(
      evaluate(.bits(.shl), [word, amounts], results: [.u32])[0].prefix(6)
        == [0x8000_0001, 2, 0x8000_0000, 0, 0, 0])
    #expect(
      evaluate(.bits(.shr), [word, amounts], results: [.u32])[0].prefix(6)
        == [0x8000_0001, 0x4000_0000, 1, 0, 0, 0])
    #expect(
      evaluate(.bits(.shr), [signed, amounts], results: [.s32])[0].prefix(6)
        == [0x8000_0001, 0xC000_0000, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF])
  }

  @Test func `funnel shifts, permute and field ops`() {
    let low = column(.u32, [0x3322_1100, 0x3322_1100, 0x0000_0080])
    let high = column(.u32, [0x7766_5544, 0x7766_5544, 0])
    let amount = column(.u32, [8, 40, 0])
    #expect(
      evaluate(.bits(.funnelShiftLeft(.wrap)), [low, high, amount], results: [.u32])[0].prefix(2)
        == [0x6655_4433, 0x6655_4433])
    #expect(
      evaluate(.bits(.funnelShiftRight(.clamp)), [low, high, amount], results: [.u32])[0].prefix(2)
        == [0x4433_2211, 0x7766_5544])
    let selector = column(.u32, [0x7531, 0x0123, 0x8888])
    #expect(
      evaluate(.bits(.prmt), [low, high, selector], results: [.u32])[0].prefix(3)
        == [0x7755_3311, 0x0011_2233, 0xFFFF_FFFF])
    #expect(
      evaluate(.bits(.lop3(table: 0xEA)), [low, high, amount], results: [.u32])[0][0]
        == (0x3322_1100 & 0x7766_5544) | 8)
    let field = column(.s32, [0x0000_0F00, 0x0000_0F00, 0x8000_0000])
    let start = column(.u32, [8, 8, 31])
    let length = column(.u32, [4, 5, 8])
    #expect(
      evaluate(.bits(.bfe), [field, start, length], results: [.s32])[0].prefix(3)
        == [0xFFFF_FFFF, 0xF, 0xFFFF_FFFF])
    let base = column(.u32, [0xFFFF_FFFF, 0, 0])
    #expect(
      evaluate(.bits(.bfi), [column(.u32, [0, 0x3F, 3]), base, start, length], results: [.u32])[0]
        .prefix(3) == [0xFFFF_F0FF, 0x1F00, 0x8000_0000])
  }

  @Test func `counting and reversing`() {
    let x = column(.u32, [0, 1, 0xF000_0000])
    #expect(evaluate(.bits(.popc), [x], results: [.u32])[0].prefix(3) == [0, 1, 4])
    #expect(evaluate(.bits(.clz), [x], results: [.u32])[0].prefix(3) == [32, 31, 0])
    #expect(evaluate(.bits(.brev), [x], results: [.u32])[0].prefix(3) == [0, 0x8000_0000, 0xF])
  }

  @Test func `comparisons know signs and NaN`() {
    let a = column(.s32, [0xFFFF_FFFF, 1]), b = column(.s32, [1, 0xFFFF_FFFF])
    #expect(evaluate(.bits(.setp(.lt)), [a, b], results: [.pred])[0].prefix(2) == [1, 0])
    let u = column(.u32, [0xFFFF_FFFF, 1]), v = column(.u32, [1, 0xFFFF_FFFF])
    #expect(evaluate(.bits(.setp(.lt)), [u, v], results: [.pred])[0].prefix(2) == [0, 1])
    let nan = UInt64(Float.nan.bitPattern)
    let x = column(.f32, [nan, 0]), y = column(.f32, [0, 0x8000_0000])
    for (relation, expected) in [
      (.eq, [0, 1]), (.ne, [0, 0]), (.neu, [1, 0]), (.geu, [1, 1]), (.num, [0, 1]), (.nan, [1, 0]),
    ] as [(Op.Comparison, [UInt64])] {
      expectEqual(
        Array(evaluate(.bits(.setp(relation)), [x, y], results: [.pred])[0].prefix(2)), expected,
        "\(relation)")
    }
  }

  @Test func `conversions round, clamp and saturate`() {
    func f(_ x: Float) -> UInt64 { UInt64(x.bitPattern) }
    let x = column(.f32, [f(2.5), f(-2.5), f(3e9), f(-3e9), f(.nan), f(-0.5)])
    #expect(
      evaluate(.conversion(.floatToInteger(.nearestEven)), [x], results: [.s32])[0].prefix(6)
        == [2, 0xFFFF_FFFE, 0x7FFF_FFFF, 0x8000_0000, 0, 0])
    #expect(
      evaluate(.conversion(.floatToInteger(.up)), [x], results: [.u32])[0].prefix(6)
        == [3, 0, 3_000_000_000, 0, 0, 0])
    let codes = evaluate(
      .conversion(.narrowFP8(.e4m3)),
      [column(.f32, [f(1), f(1e6)]), column(.f32, [f(-1), f(2)])],
      results: [.u16])[0]
    #expect(codes.prefix(2) == [0xB838, 0x407E])
    #expect(
      evaluate(.conversion(.widenFP8(.e4m3)), [column(.u16, [0xB838])], results: [.f16x2])[0][0]
        == 0xBC00_3C00)
    #expect(
      evaluate(
        .conversion(.narrowPair), [column(.f32, [f(1)]), column(.f32, [f(-2)])], results: [.bf16x2])[
          0][0] == 0xC000_3F80)
    #expect(
      evaluate(.conversion(.tf32), [column(.f32, [0x3F80_1000, 0x3F80_0FFF])], results: [.u32])[0]
        .prefix(2) == [0x3F80_2000, 0x3F80_0000])
    #expect(
      evaluate(.conversion(.integer), [column(.s32, [0xFFFF_FFFE])], results: [.s64])[0][0]
        == 0xFFFF_FFFF_FFFF_FFFE)
    #expect(
      evaluate(.conversion(.integerToFloat), [column(.s32, [0xFFFF_FFFE])], results: [.f32])[0][0]
        == f(-2))
  }

  @Test func `halves are packed low first`() {
    let x = column(.u32, [0xAABB_CCDD])
    let halves = evaluate(.movement(.unpack), [x], results: [.u16, .u16])
    #expect(halves[0][0] == 0xCCDD && halves[1][0] == 0xAABB)
    #expect(
      evaluate(
        .movement(.pack), [column(.u32, [1]), column(.u32, [2])], results: [.u64])[0][0]
        == 0x2_0000_0001)
  }
}
