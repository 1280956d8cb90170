import ApusIR
import Testing

@Suite struct VariableRuleTests {
  @Test func `an assignment to an immutable value`() {
    let kernel = makeKernel { builder in
      let x = builder.value(.movement(.copy), [.u32(1)], type: .u32, name: "x", at: line(1))
      builder.assign(x, .u32(2), at: line(3))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [variables]: assign must write a variable; "
          + "found %x0, which is immutable."
      ])
  }

  @Test func `an ordinary result in a variable`() {
    let kernel = makeKernel { builder in
      let x = builder.addValue(.u32, kind: .variable, name: "x", at: line(1))
      builder.append(
        Node(.movement(.copy), operands: [.u32(1)], results: [x], location: line(3)))
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [variables]: copy must write a fresh value; "
          + "found %x0, which is variable. Assign the result to the variable."
      ])
  }

  @Test func `one accumulator twice`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(3)
      builder.product(d + [d[0]], at: 3)
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [variables]: accumulators of wgmma.m64n8k16.f32.bf16.bf16.ss must "
          + "be distinct; found 1 repeated."
      ])
  }

  @Test func `a variable that nothing writes`() {
    let kernel = makeKernel { builder in
      let x = builder.variable(.u32, name: "x", at: line(1))
      builder.use(.value(x), at: 3)
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [variables]: %x0 must be written before it is read; "
          + "found no initial value and no write in the kernel."
      ])
  }
}
