import ApusIR
import Testing

@Suite struct AccumulatorRuleTests {
  private let fence = Op.tensorCore(.wgmmaFence)
  private let commit = Op.tensorCore(.wgmmaCommit)

  private func wait(_ pending: Int) -> Op { .tensorCore(.wgmmaWait(pending: pending)) }

  @Test func `a read between commit and wait`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      builder.product(d, at: 3)
      builder.perform(commit)
      builder.use(.value(d[2]), at: 5)
      builder.perform(wait(0))
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [accumulators]: registers of a wgmma must rest until its group is "
          + "waited for; found %d2 touched by st.global.b32. "
          + "Wait for the group first, or use other registers."
      ])
  }

  @Test func `a partial wait frees the older group only`() {
    func kernel(touching index: Int) -> KernelIR {
      makeKernel { builder in
        let older = builder.accumulators(4)
        let newer = builder.accumulators(4)
        builder.perform(fence)
        builder.product(older, at: 3)
        builder.perform(commit)
        builder.product(newer, at: 4)
        builder.perform(commit)
        builder.perform(wait(1))
        builder.use(.value(index == 0 ? older[0] : newer[0]), at: 7)
        builder.perform(wait(0))
      }
    }
    #expect(findings(kernel(touching: 0)) == [])
    #expect(findings(kernel(touching: 1)).count == 1)
  }

  @Test func `a register operand rewritten while in flight`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      let a = (0..<4).map { _ in builder.variable(.u32, initial: .u32(0), name: "a", at: line(1)) }
      builder.perform(fence)
      builder.accumulate(
        .wgmma(Op.WGMMAShape(n: 8, .bf16, aInRegisters: true)), into: d,
        a.map(Operand.value) + [.constant(.u64(0)), .pred(true)], at: line(3))
      builder.perform(commit)
      builder.assign(a[1], .u32(7), at: line(4))
      builder.perform(wait(0))
    }
    #expect(findings(kernel).count == 1)
    #expect(findings(kernel).first?.contains("found %a5 touched by assign") == true)
  }

  @Test func `a hazard that only the second round of a loop meets`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      let body = builder.region { loop in
        loop.use(.value(d[0]), at: 5)
        loop.perform(fence)
        loop.product(d, at: 6)
        loop.perform(commit)
        loop.perform(.control(.breakIf), [loop.pointerTest()], at: 8)
      }
      builder.emit(.control(.loop(.automatic)), regions: [body], at: line(4))
      builder.perform(wait(0))
    }
    #expect(findings(kernel).count == 1)
    #expect(findings(kernel).first?.hasPrefix("K.swift:5: ") == true)
  }

  @Test func `a wait in one branch only`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      builder.product(d, at: 3)
      builder.perform(commit)
      let then = builder.region { $0.perform(wait(0)) }
      builder.emit(
        .control(.if(.uniform)), [builder.pointerTest()], regions: [then], at: line(5))
      builder.use(.value(d[0]), at: 7)
      builder.perform(wait(0))
    }
    #expect(findings(kernel).count == 1)
    #expect(findings(kernel).first?.hasPrefix("K.swift:7: ") == true)
  }

  @Test func `the first product without a fence`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.product(d, at: 3)
      builder.perform(commit)
      builder.perform(wait(0))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [accumulators]: wgmma.fence must precede the first wgmma; "
          + "found none on some path."
      ])
  }

  @Test func `a write between the fence and the product`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      builder.assign(d[3], .f32(1), at: line(3))
      builder.product(d, at: 4)
      builder.perform(commit)
      builder.perform(wait(0))
    }
    #expect(
      findings(kernel) == [
        "K.swift:4: kernel k [accumulators]: wgmma.fence must stand between writes of registers "
          + "and the wgmma that takes them; found %d3 written after the last fence."
      ])
  }

  @Test func `a group nobody waits for`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      builder.product(d, at: 3)
      builder.perform(commit)
      builder.perform(wait(1), at: 6)
    }
    #expect(
      findings(kernel).filter { $0.contains("[accumulators]") } == [
        "K.swift:6: kernel k [accumulators]: every wgmma must be waited for before the kernel "
          + "ends; found 4 registers in flight. Commit and wait with pending 0."
      ])
  }

  @Test func `an exit with products in flight`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(fence)
      builder.product(d, at: 3)
      builder.perform(commit)
      let then = builder.region { $0.perform(.control(.exit), at: 5) }
      builder.emit(
        .control(.if(.uniform)), [builder.pointerTest()], regions: [then], at: line(5))
      builder.perform(wait(0))
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [accumulators]: every wgmma must be waited for before a thread "
          + "exits; found 4 registers in flight."
      ])
  }
}

extension IRBuilder {
  /// A predicate nobody can fold.
  fileprivate mutating func pointerTest() -> Operand {
    let tid = thread()
    return .value(value(.bits(.setp(.eq)), [tid, .u32(0)], type: .pred, at: line(1)))
  }
}
