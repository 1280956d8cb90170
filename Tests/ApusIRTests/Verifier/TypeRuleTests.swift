import ApusIR
import Testing

@Suite struct TypeRuleTests {
  @Test func `operands of different types`() {
    let kernel = makeKernel { builder in
      let sum = builder.value(
        .arithmetic(.add), [.u32(1), .f32(2)], type: .u32, at: line(3))
      builder.use(.value(sum))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [types]: add must be (T, T) → (T) with "
          + "T = u32|s32|u64|s64|f16|bf16|f32|f16x2|bf16x2; found (u32, f32) → (u32)."
      ])
  }

  @Test func `a shared address where a global one belongs`() {
    let kernel = makeKernel { builder in
      builder.perform(.memory(.st(Op.MemoryAccess(.global, .b32))), [.u32(0), .f32(1)], at: 3)
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [types]: st.global.b32 must be (u64, T) → () with "
          + "T = u32|s32|f32|f16x2|bf16x2; found (u32, f32) → ()."
      ])
  }

  @Test func `a field beyond its parameter`() {
    let kernel = makeKernel { builder in
      let id = builder.addParameter(name: "args", kind: .bytes(count: 8, alignment: 8))
      let field = builder.value(
        .memory(.parameter(id, offset: 8)), type: .u32, at: line(3))
      builder.use(.value(field))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [types]: ld.param must read a field of args; "
          + "found u32 at offset 8 of bytes(count: 8, alignment: 8)."
      ])
  }

  @Test func `the address of a scalar`() {
    let kernel = makeKernel { builder in
      let id = builder.addParameter(name: "n", kind: .scalar(.u32))
      builder.emit(
        .memory(.parameterAddress(id)), results: [.u64], at: line(3))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [types]: address.param must name a tensor map or bytes; "
          + "found scalar(u32). Read the parameter with ld.param."
      ])
  }

  @Test func `a product that gives other accumulators than it takes`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      let e = builder.accumulators(4)
      builder.append(
        Node(
          .tensorCore(.wgmma(Op.WGMMAShape(n: 8, .bf16))),
          operands: d.map(Operand.value)
            + [.constant(.u64(0)), .constant(.u64(0)), .pred(true)],
          results: e, location: line(7)))
    }
    #expect(
      findings(kernel) == [
        "K.swift:7: kernel k [types]: wgmma.m64n8k16.f32.bf16.bf16.ss must give the "
          + "accumulators it takes, in order; found %d4, %d5, %d6, %d7."
      ])
  }
}
