import ApusIR
import Testing

@Suite struct CommonSubexpressionsTests {
  @Test func `equal expressions are computed once, also inside regions`() {
    let kernel = makeKernel { builder in
      let x = builder.thread()
      let a = builder.binary(.bits(.and), x, .u32(31), name: "a")
      let b = builder.binary(.bits(.and), x, .u32(31), name: "b")
      builder.use(builder.binary(.arithmetic(.add), a, b))
      let then = builder.region { inner in
        inner.use(inner.binary(.bits(.and), inner.thread(), .u32(31), name: "c"))
      }
      builder.emit(.control(.if(.divergent)), [.pred(true)], regions: [then], at: line(1))
    }
    #expect(
      bodyText(CommonSubexpressions.run(kernel)) == [
        "%tid0: u32 = tid.x", "%a1: u32 = and %tid0, 31", "%3: u32 = add %a1, %a1",
        "st.global.b32 0:u64, %3", "if true {", "  st.global.b32 0:u64, %a1", "}",
      ])
  }

  @Test func `expressions of one branch do not reach the other`() {
    let kernel = makeKernel { builder in
      let x = builder.thread()
      let branches = (0..<2).map { _ in
        builder.region { $0.use($0.binary(.arithmetic(.mul), x, x)) }
      }
      builder.emit(.control(.if(.divergent)), [.pred(true)], regions: branches, at: line(1))
      builder.use(builder.binary(.arithmetic(.mul), x, x))
    }
    #expect(bodyText(CommonSubexpressions.run(kernel)) == bodyText(kernel))
  }

  @Test func `reads of variables and of clocks stay apart`() {
    let kernel = makeKernel { builder in
      let v = builder.variable(.u32, initial: .u32(0), name: "v", at: line(1))
      for _ in 0..<2 {
        let next = builder.binary(.arithmetic(.add), .value(v), .u32(1))
        builder.assign(v, next, at: line(2))
        builder.use(.value(builder.value(.special(.clock), type: .u32, at: line(3))))
      }
    }
    #expect(bodyText(CommonSubexpressions.run(kernel)) == bodyText(kernel))
  }

  @Test func `loads and differently typed results stay apart`() {
    let kernel = makeKernel { builder in
      let p = builder.pointer("p")
      for type in [ValueType.u32, .f32] {
        for _ in 0..<2 {
          builder.use(
            .value(
              builder.value(
                .memory(.ld(Op.MemoryAccess(.global, .b32))), [p], type: type, at: line(2))))
        }
        let x = builder.value(.movement(.bitcast), [.constant(.s32(1))], type: type, at: line(3))
        builder.use(.value(x))
      }
    }
    #expect(bodyText(CommonSubexpressions.run(kernel)) == bodyText(kernel))
  }

  /// Sharing would let the store touch a register that is in flight.
  @Test func `register operands of wgmma keep their own registers`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      let x = builder.thread()
      let a = (0..<4).map { builder.binary(.arithmetic(.add), x, .u32(UInt32($0)), name: "a") }
      builder.perform(.tensorCore(.wgmmaFence))
      builder.accumulate(
        .wgmma(Op.WGMMAShape(n: 8, .bf16, aInRegisters: true)), into: d,
        a + [.constant(.u64(0)), .pred(true)], at: line(3))
      builder.perform(.tensorCore(.wgmmaCommit))
      builder.use(builder.binary(.arithmetic(.add), x, .u32(1)))
      builder.perform(.tensorCore(.wgmmaWait(pending: 0)))
    }
    #expect(findings(kernel) == [])
    #expect(bodyText(kernel.optimised()).contains("%a5: u32 = add %tid4, 0"))
    #expect(findings(kernel.optimised()) == [])
  }
}
