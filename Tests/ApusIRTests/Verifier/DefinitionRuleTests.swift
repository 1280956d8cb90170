import ApusIR
import Testing

@Suite struct DefinitionRuleTests {
  @Test func `a use before the definition`() {
    let kernel = makeKernel { builder in
      let late = builder.addValue(.u32, name: "late", at: line(5))
      builder.use(.value(late), at: 4)
      builder.append(
        Node(.movement(.copy), operands: [.u32(1)], results: [late], location: line(5)))
    }
    #expect(
      findings(kernel) == [
        "K.swift:4: kernel k [definitions]: %late0 must be defined before its use; "
          + "found a use by st.global.b32 with no definition before it."
      ])
  }

  @Test func `a use outside the defining region`() {
    let kernel = makeKernel { builder in
      var inner = Operand.u32(0)
      let then = builder.region { inner = $0.binary(.arithmetic(.add), .u32(1), .u32(2)) }
      builder.emit(.control(.if(.divergent)), [.pred(true)], regions: [then], at: line(2))
      builder.use(inner, at: 6)
    }
    #expect(
      findings(kernel) == [
        "K.swift:6: kernel k [definitions]: %0 must be used inside the region that defines it; "
          + "found a use by st.global.b32 outside. "
          + "Carry it out in a variable declared before the region."
      ])
  }

  @Test func `a second definition`() {
    let kernel = makeKernel { builder in
      let x = builder.addValue(.u32, name: "x", at: line(1))
      for place in [2, 3] {
        builder.append(
          Node(.movement(.copy), operands: [.u32(1)], results: [x], location: line(place)))
      }
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [definitions]: %x0 must be defined once; "
          + "found a second definition by copy. Declare a variable and assign it."
      ])
  }

  @Test func `an assignment to a variable of a finished region`() {
    let kernel = makeKernel { builder in
      var x = ValueID(0)
      let then = builder.region { x = $0.variable(.u32, initial: .u32(0), at: line(2)) }
      builder.emit(.control(.if(.divergent)), [.pred(true)], regions: [then], at: line(2))
      builder.assign(x, .u32(1), at: line(4))
    }
    #expect(findings(kernel).count == 1)
    #expect(findings(kernel).first?.hasPrefix("K.swift:4: kernel k [definitions]: ") == true)
  }
}
