import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// Nothing of the language is refused.
@Suite struct CoverageTests {
  private static let roundings: [Op.Rounding] = [.nearestEven, .towardZero, .down, .up]

  private static let arithmetic: [Op.Arithmetic] =
    [
      .add, .sub, .mul, .fma, .mulHigh, .mulWide, .mad, .madWide, .div, .rem, .min, .max, .minNaN,
      .maxNaN, .neg, .abs, .packed16(.maxUnsigned), .packed16(.minUnsigned), .packed16(.maxSigned),
      .packed16(.minSigned), .packed16(.add),
    ] + roundings.flatMap { [.addRounded($0), .mulRounded($0), .fmaRounded($0)] }
    + ([.ex2, .lg2, .rcp, .rsqrt, .sqrt, .tanh, .sin, .cos] as [Op.ApproximateFunction]).map {
      .approximate($0)
    }

  private static let bits: [Op.Bits] =
    [
      .and, .or, .xor, .not, .shl, .shr, .funnelShiftLeft(.wrap), .funnelShiftLeft(.clamp),
      .funnelShiftRight(.wrap), .funnelShiftRight(.clamp), .prmt, .lop3(table: 0x96), .popc, .clz,
      .brev, .bfe, .bfi,
    ]
    + ([
      .eq, .ne, .lt, .le, .gt, .ge, .equ, .neu, .ltu, .leu, .gtu, .geu, .num, .nan,
    ] as [Op.Comparison]).map { .setp($0) }

  private static let conversions: [Op.Conversion] =
    [
      .integer, .integerToFloat, .widen, .narrow, .narrowPair, .narrowFP8(.e4m3), .narrowFP8(.e5m2),
      .widenFP8(.e4m3), .widenFP8(.e5m2), .tf32,
    ] + roundings.flatMap { [.floatToInteger($0), .roundToInteger($0)] }

  private static let movements: [Op.Movement] = [
    .assign, .copy, .select, .bitcast, .pack, .unpack,
  ]

  private func type(
    _ slot: Signature.Slot, _ t: ValueType, _ s: ValueType
  ) -> ValueType {
    switch slot {
    case .fixed(let type): type
    case .of(let set): set.types.first ?? .u32
    case .t: t
    case .s: s
    }
  }

  @Test func `every op runs with every type it admits`() {
    let ops =
      Self.arithmetic.map(Op.arithmetic) + Self.bits.map(Op.bits)
      + Self.conversions.map(Op.conversion) + Self.movements.map(Op.movement)
    var runs = 0
    for op in ops {
      for signature in Set((1...4).flatMap { op.signatures(operandCount: $0, resultCount: 1) }) {
        let slots = signature.operands + signature.results
        for t in slots.contains(.t) ? signature.t.types : [.u32] {
          for s in slots.contains(.s) ? signature.s.types : [.u32] {
            let kernel = makeKernel { b in
              let operands = signature.operands.map {
                Operand.value(
                  b.variable(
                    type($0, t, s), initial: .constant(Constant(type: type($0, t, s), bits: 3)),
                    at: line(1)))
              }
              if case .movement(.assign) = op {
                b.assign(b.variable(t, at: line(1)), operands[0], at: line(2))
              } else {
                b.emit(
                  op, operands, results: signature.results.map { type($0, t, s) }, at: line(2))
              }
            }
            expectEqual(run(kernel).report.errors, [], "\(op) \(signature) \(t) \(s)")
            runs += 1
          }
        }
      }
    }
    #expect(runs > 300)
  }
}
