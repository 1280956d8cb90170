import ApusIR
import Testing

@Suite struct SignatureTests {
  @Test func `slots of one letter take one type`() {
    let signature = Signature([.t, .t], [.t], t: TypeSet(.u32, .f32))
    #expect(signature.matches(operands: [.u32, .u32], results: [.u32]))
    #expect(!signature.matches(operands: [.u32, .f32], results: [.u32]))
    #expect(!signature.matches(operands: [.s32, .s32], results: [.s32]))
    #expect(!signature.matches(operands: [.u32], results: [.u32]))
  }

  @Test func `descriptions fold runs`() {
    let signatures = Op.tensorCore(.mma(Op.MMAShape(.bf16)))
      .signatures(operandCount: 10, resultCount: 4)
    #expect(
      signatures.map(\.description) == [
        "(4 × f32, 6 × u32|bf16x2) → (4 × f32)"
      ])
    let select = Op.movement(.select).signatures(operandCount: 3, resultCount: 1)
    #expect(
      select.map(\.description) == [
        "(pred, T, T) → (T) with T = u16|u32|s32|u64|s64|f16|bf16|f32|f16x2|bf16x2"
      ])
  }

  @Test func `bit casts keep the width`() {
    let signatures = Op.movement(.bitcast).signatures(operandCount: 1, resultCount: 1)
    for from in ValueType.allCases {
      for to in ValueType.allCases {
        let isAllowed = from != .pred && to != .pred && from.bitWidth == to.bitWidth
        #expect(
          signatures.contains { $0.matches(operands: [from], results: [to]) } == isAllowed,
          "\(from) → \(to)")
      }
    }
  }

  @Test func `three elements are no vector`() {
    let load = Op.memory(.ld(Op.MemoryAccess(.shared, .b32)))
    for count in 1...5 {
      let matches = load.signatures(operandCount: 1, resultCount: count).contains {
        $0.matches(operands: [.u32], results: Array(repeating: .f32, count: count))
      }
      #expect(matches == [1, 2, 4].contains(count), "\(count)")
    }
  }
}
