import ApusIR
import ApusNumerics
import Testing

@Suite struct LegalisationTests {
  @Test func `packed bf16 arithmetic becomes fused on Ampere`() {
    let kernel = makeKernel { builder in
      let a = builder.value(.movement(.bitcast), [builder.thread()], type: .bf16x2, at: line(1))
      for op in [Op.Arithmetic.add, .sub, .mul] {
        builder.use(builder.binary(.arithmetic(op), .value(a), .value(a)))
      }
    }
    #expect(findings(kernel, target: .sm80).count == 3)
    let legal = Legalisation.run(kernel, target: .sm80)
    #expect(
      bodyText(legal).filter { $0.contains("fma") } == [
        "%2: bf16x2 = fma %1, 0x3f803f80:bf16x2, %1",
        "%3: bf16x2 = fma %1, 0xbf80bf80:bf16x2, %1",
        "%4: bf16x2 = fma %1, %1, 0x80008000:bf16x2",
      ])
    #expect(findings(legal, target: .sm80) == [])
    #expect(Legalisation.run(kernel, target: .sm90a) == kernel)
  }

  /// The binary16 pair that the lowered conversion gives for two codes, the one product that the
  /// folding leaves over done here.
  private func widened(_ format: Op.FP8Format, _ codes: UInt16) -> UInt32? {
    let kernel = makeKernel { builder in
      let x = builder.value(
        .conversion(.widenFP8(format)), [.constant(.u16(codes))], type: .f16x2, at: line(1))
      builder.use(.value(x))
    }
    let legal = Legalisation.run(kernel, target: .sm80)
    guard findings(legal, target: .sm80).isEmpty else { return nil }
    let nodes = ConstantFolding.run(legal).body.nodes
    if let whole = nodes.first?.operands.last?.constant, nodes.count == 1 { return whole.low32 }
    guard let product = nodes.first(where: { $0.op == .arithmetic(.mul) }),
      let half = product.operands[0].constant
    else { return nil }
    let halves = [
      UInt16(truncatingIfNeeded: half.bits), UInt16(truncatingIfNeeded: half.bits >> 16),
    ]
    .map { UInt32(Half(Half(bitPattern: $0).float * 256).bitPattern) }
    // No NaN mask: folded away as x | 0.
    let mask = nodes.first { $0.op == .bits(.or) }?.operands.compactMap(\.constant).first
    return (halves[0] | halves[1] << 16) | (mask?.low32 ?? 0)
  }

  @Test(arguments: Op.FP8Format.allCases)
  func `every code widens to its value in either place`(format: Op.FP8Format) {
    for code in UInt8.min...UInt8.max {
      let expected =
        format == .e4m3
        ? Float8E4M3(bitPattern: code).float : Float8E5M2(bitPattern: code).float
      for (codes, shift) in [(UInt16(code), UInt32(0)), (UInt16(code) << 8, 16)] {
        guard let bits = widened(format, codes) else {
          Issue.record("code \(code) of \(format) was not lowered")
          return
        }
        let value = Half(bitPattern: UInt16(truncatingIfNeeded: bits >> shift)).float
        let other = UInt16(truncatingIfNeeded: bits >> (16 - shift))
        #expect(other == 0, "\(format) \(code)")
        #expect(
          value == expected && value.sign == expected.sign || value.isNaN && expected.isNaN,
          "\(format) \(code): \(value), not \(expected)")
      }
    }
  }

  @Test func `what has no replacement stays for the verifier`() {
    let kernel = makeKernel { builder in
      builder.emit(.warp(.elect(members: Op.allLanes)), results: [.pred], at: line(3))
    }
    #expect(Legalisation.run(kernel, target: .sm80) == kernel)
    #expect(findings(kernel, target: .sm80).count == 1)
  }
}
