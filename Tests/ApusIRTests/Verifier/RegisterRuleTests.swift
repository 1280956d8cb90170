import ApusIR
import Testing

@Suite struct RegisterRuleTests {
  /// Two consumer warpgroups with accumulators of n/2 and 64 registers, and one producer.
  private func kernel(n: Int, consumer: Int = 240, producer: Int = 24) -> KernelIR {
    makeKernel(threads: 384) { builder in
      let warp = builder.binary(.bits(.shr), builder.thread(), .u32(5))
      let products = builder.region { inner in
        let s = inner.accumulators(n / 2)
        let o = inner.accumulators(64)
        inner.perform(.tensorCore(.wgmmaFence))
        for (d, shape) in [
          (s, Op.WGMMAShape(n: n, .bf16)), (o, Op.WGMMAShape(n: 128, .bf16)),
        ] {
          inner.accumulate(
            .wgmma(shape), into: d, [.constant(.u64(0)), .constant(.u64(0)), .pred(true)],
            at: line(5))
        }
        inner.perform(.tensorCore(.wgmmaCommit))
        inner.perform(.tensorCore(.wgmmaWait(pending: 0)))
      }
      builder.emit(
        .control(
          .roles([
            Role(name: "producer", warps: 0..<4, registers: producer),
            Role(name: "consumer", warps: 4..<12, registers: consumer),
          ])), [warp], regions: [Region(), products], at: line(3))
    }
  }

  @Test func `estimates add accumulators, operands and the reserve`() {
    #expect(
      kernel(n: 176).registerEstimates.map(\.description) == [
        "kernel: 0 accumulators + 0 operands + 25 = 25 of 168 registers",
        "producer: 0 accumulators + 0 operands + 25 = 25 of 24 registers",
        "consumer: 152 accumulators + 0 operands + 25 = 177 of 240 registers",
      ])
  }

  @Test func `a tile too large for its role`() {
    #expect(findings(kernel(n: 256)) == [])
    #expect(
      findings(kernel(n: 256, consumer: 208, producer: 32)) == [
        "K.swift:1: kernel k [registers]: fragments of consumer must fit 208 registers; found "
          + "consumer: 192 accumulators + 0 operands + 25 = 217 of 208 registers. "
          + "Use a smaller tile or fewer threads."
      ])
  }

  @Test func `a role without fragments needs no reserve`() {
    #expect(findings(kernel(n: 128, producer: 24)) == [])
  }

  @Test func `budgets beyond what the block has at entry`() {
    // 384 threads enter with 168 registers each; 65,536 would be within the register file.
    #expect(
      findings(kernel(n: 128, consumer: 240, producer: 32)) == [
        "K.swift:3: kernel k [registers]: registers of all roles must fit 64512; found 65536. "
          + "Lower a budget: an increase would wait forever."
      ])
  }

  @Test func `an illegal budget`() {
    #expect(
      findings(kernel(n: 128, consumer: 236)) == [
        "K.swift:3: kernel k [registers]: registers of role consumer must be a multiple of 8 in "
          + "24…256; found 236."
      ])
  }

  @Test func `a budget for part of a warpgroup`() {
    let kernel = makeKernel(threads: 256) { builder in
      builder.emit(
        .control(.roles([Role(name: "half", warps: 0..<2, registers: 24)])), [.u32(0)],
        regions: [Region()], at: line(3))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [registers]: role half must have whole warpgroups to change its "
          + "registers; found warps 0..<2."
      ])
  }

  @Test func `scopes that follow each other share their registers`() {
    let kernel = makeKernel { builder in
      for _ in 0..<2 {
        let region = builder.region { inner in
          let d = inner.accumulators(4)
          inner.accumulate(
            .mma(Op.MMAShape(.bf16)), into: d, Array(repeating: .u32(0), count: 6), at: line(2))
        }
        builder.emit(.control(.if(.uniform)), [.pred(true)], regions: [region], at: line(1))
      }
    }
    #expect(kernel.registerEstimates.map(\.accumulators) == [4])
  }
}
