import ApusIR
import Testing

@Suite struct RequirementsTests {
  private func needs(_ op: Op, _ types: [ValueType] = []) -> String {
    Node(op, location: line(1)).requirements(operandTypes: types).description
  }

  @Test func `ops name their least version and target`() {
    #expect(needs(.arithmetic(.fma), [.bf16x2, .bf16x2, .bf16x2]) == "PTX 7.0, sm_80")
    #expect(needs(.arithmetic(.mul), [.bf16x2, .bf16x2]) == "PTX 7.8, sm_90a")
    #expect(needs(.conversion(.widenFP8(.e4m3)), [.u16]) == "PTX 8.1, sm_89")
    #expect(needs(.tensorCore(.mma(Op.MMAShape(.e4m3)))) == "PTX 8.4, sm_89")
    #expect(needs(.tensorCore(.mma(Op.MMAShape(.bf16)))) == "PTX 7.0, sm_80")
    #expect(needs(.tensorCore(.wgmma(Op.WGMMAShape(n: 8, .e4m3)))) == "PTX 8.0, sm_90a")
    #expect(needs(.copy(.storeAsync(offset: 0, barrierOffset: 0))) == "PTX 8.1, sm_90a")
    #expect(needs(.synchronisation(.mbarrierWait(Op.MBarrierWait()))) == "PTX 7.1, sm_80")
    #expect(needs(.memory(.parameterAddress(ParameterID(0)))) == "PTX 7.7, sm_80")
    let relaxed = Op.MBarrierArrive(ordering: .relaxed)
    #expect(needs(.synchronisation(.mbarrierArrive(relaxed))) == "PTX 8.6, sm_90a")
    #expect(needs(.synchronisation(.mbarrierArriveExpect(relaxed))) == "PTX 8.6, sm_90a")
    #expect(needs(.synchronisation(.mbarrierExpect(relaxed))) == "PTX 8.0, sm_90a")
    #expect(needs(.control(.setMaxRegisters(.increase, count: 240))) == "PTX 8.0, sm_90a")
  }

  @Test func `a kernel's version covers its ops and its target`() {
    let plain = makeKernel { $0.use(.u32(1)) }
    #expect(
      Target.allCases.map { plain.ptxVersion(for: $0).description } == ["7.0", "7.1", "7.8", "8.0"])
    let fp8 = makeKernel { builder in
      builder.emit(
        .conversion(.widenFP8(.e4m3)), [.constant(.u16(0))], results: [.f16x2], at: line(1))
    }
    #expect(fp8.ptxVersion(for: .sm89) == PTXVersion(8, 1))
    #expect(fp8.ptxVersion(for: .sm90a) == PTXVersion(8, 0))
    let async = makeKernel { builder in
      builder.perform(
        .copy(.storeAsync(offset: 0, barrierOffset: 0)), [.u32(0), .u32(0), .u32(0)])
    }
    #expect(async.ptxVersion(for: .sm90a) == PTXVersion(8, 1))
    #expect(async.requirements.target == .sm90a)
  }
}
