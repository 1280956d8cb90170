import ApusIR
import ApusPTX
import Testing

/// Structured control as labels, branches and guards.
@Suite struct ControlTests {
  private let one = Operand.constant(.u32(1))

  private func predicate(_ b: inout IRBuilder) -> Operand {
    .value(b.variable(.pred, name: "p", at: line(1)))
  }

  @Test func `an if with else joins behind both`() throws {
    let kernel = makeKernel { b in
      let p = predicate(&b)
      let x = b.variable(.u32, at: line(1))
      let then = b.region { $0.assign(x, one, at: line(2)) }
      let other = b.region { $0.assign(x, .constant(.u32(2)), at: line(3)) }
      b.emit(.control(.if(.divergent)), [p], regions: [then, other], at: line(4))
      b.emit(.control(.if(.uniform)), [p], regions: [then], at: line(5))
    }
    #expect(
      try body(kernel) == [
        "@!%p0 bra $L2_else;", "mov.b32 %r0, 1;", "bra.uni $L1_end;", "$L2_else:",
        "mov.b32 %r0, 2;", "$L1_end:", "@!%p0 bra.uni $L3_end;", "mov.b32 %r0, 1;", "$L3_end:",
      ])
  }

  @Test func `a loop leaves, continues and forbids unrolling`() throws {
    let kernel = makeKernel { b in
      let p = predicate(&b)
      let body = b.region { b in
        b.emit(.control(.breakIf), [p], at: line(2))
        b.emit(.control(.continueIf), [p], at: line(3))
      }
      b.emit(.control(.loop(.rolled)), regions: [body], at: line(4))
    }
    #expect(
      try body(kernel) == [
        "$L1_loop:", ".pragma \"nounroll\";", "@%p0 bra $L1_loop_end;", "@%p0 bra $L1_loop_next;",
        "$L1_loop_next:", "bra.uni $L1_loop;", "$L1_loop_end:",
      ])
  }

  @Test func `a predicated region guards every instruction by what the predicate was`() throws {
    let kernel = makeKernel { b in
      let p = b.variable(.pred, at: line(1))
      let body = b.region { b in
        let region = b.region { b in
          b.assign(p, .constant(.pred(false)), at: line(2))
          b.emit(.control(.breakIf), [.value(p)], at: line(3))
          b.emit(.control(.exit), at: line(3))
        }
        b.emit(.control(.if(.predicated)), [.value(p)], regions: [region], at: line(4))
      }
      b.emit(.control(.loop(.automatic)), regions: [body], at: line(5))
    }
    #expect(
      try body(kernel) == [
        "$L1_loop:", "mov.pred %p1, %p0;", "@%p1 mov.pred %p0, 0;", "and.pred %p2, %p1, %p0;",
        "@%p2 bra $L1_loop_end;", "@%p1 exit;", "bra.uni $L1_loop;", "$L1_loop_end:",
      ])
  }

  @Test func `roles compare the warp index and set budgets on Hopper alone`() throws {
    let kernel = makeKernel { b in
      let warp = b.value(.special(.laneIndex), type: .u32, at: line(1))
      let roles = [
        Role(name: "first", warps: 0..<2, registers: 40), Role(name: "second", warps: 2..<4),
      ]
      let region = b.region { $0.emit(.control(.trap), at: line(2)) }
      b.emit(
        .control(.roles(roles)), [.value(warp)], regions: [region, region], at: line(3))
    }
    let hopper = [
      "mov.u32 %r0, %laneid;", "// role first: warps 0..<2", "setp.lt.u32 %p0, %r0, 2;",
      "@!%p0 bra.uni $L2_next_role;", "setmaxnreg.dec.sync.aligned.u32 40;", "trap;",
      "bra.uni $L1_roles_end;", "$L2_next_role:", "// role second: warps 2..<4",
      "sub.u32 %r1, %r0, 2;", "setp.lt.u32 %p1, %r1, 2;", "@!%p1 bra.uni $L3_next_role;", "trap;",
      "bra.uni $L1_roles_end;", "$L3_next_role:", "$L1_roles_end:",
    ]
    #expect(try body(kernel) == hopper)
    #expect(try body(kernel, .sm80) == hopper.filter { !$0.hasPrefix("setmaxnreg") })
  }

  @Test func `comments stay on one line of ASCII`() throws {
    #expect(try spell(.control(.comment("a\nb → c"))) == ["// a b ? c"])
    #expect(try spell(.control(.phase("load"))) == ["// == load"])
  }
}
