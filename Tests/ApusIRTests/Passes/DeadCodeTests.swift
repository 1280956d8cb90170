import ApusIR
import Testing

@Suite struct DeadCodeTests {
  @Test func `chains without readers and empty branches go`() {
    let kernel = makeKernel { builder in
      let x = builder.thread()
      let a = builder.binary(.arithmetic(.add), x, .u32(1))
      let p = builder.value(.bits(.setp(.lt)), [a, .u32(5)], type: .pred, at: line(1))
      let then = builder.region { _ = $0.binary(.arithmetic(.mul), a, a) }
      builder.emit(.control(.if(.divergent)), [.value(p)], regions: [then], at: line(2))
      builder.use(.u32(1))
    }
    #expect(kernel.body.totalNodeCount == 6)
    #expect(bodyText(DeadCode.run(kernel)) == ["st.global.b32 0:u64, 1"])
  }

  @Test func `a variable that is only written goes, one that is read stays`() {
    let kernel = makeKernel { builder in
      let dead = builder.variable(.u32, initial: .u32(0), name: "dead", at: line(1))
      let live = builder.variable(.u32, initial: .u32(0), name: "live", at: line(1))
      builder.assign(dead, .value(live), at: line(2))
      builder.assign(live, .u32(3), at: line(3))
      builder.use(.value(live))
    }
    #expect(
      bodyText(DeadCode.run(kernel)) == [
        "%live1: u32 = variable 0", "%live1 = assign 3", "st.global.b32 0:u64, %live1",
      ])
  }

  @Test func `effects stay though nothing reads their results`() {
    let kernel = makeKernel { builder in
      let p = builder.pointer("p")
      builder.emit(
        .memory(.atom(Op.AtomicAccess(.add, .global))), [p, .u32(1)], results: [.u32], at: line(2))
      builder.emit(
        .memory(.ld(Op.MemoryAccess(.global, .b32, ordering: .acquire(.gpu)))), [p],
        results: [.u32], at: line(3))
      builder.perform(.control(.comment("kept")))
    }
    #expect(bodyText(DeadCode.run(kernel)) == bodyText(kernel))
  }

  @Test func `accumulators stay`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.accumulate(
        .mma(Op.MMAShape(.bf16)), into: d, Array(repeating: .u32(0), count: 6), at: line(2))
    }
    #expect(bodyText(DeadCode.run(kernel)) == bodyText(kernel))
  }
}
