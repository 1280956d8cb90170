import ApusIR
import Testing

@Suite struct StructureRuleTests {
  @Test func `an index outside its table`() {
    let kernel = makeKernel { builder in
      builder.perform(.synchronisation(.barrierSync(NamedBarrierID(2))), at: 3)
      builder.perform(.movement(.assign), [.value(ValueID(9))], at: 4)
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [structure]: bar.sync must name one of 0 named barriers; "
          + "found index 2.",
        "K.swift:4: kernel k [structure]: assign must name one of 0 values; found index 9.",
      ])
  }

  @Test func `launch bounds outside the hardware's`() {
    let kernel = makeKernel(threads: 100, minBlocks: 0, cluster: 3) { $0.use(.u32(1)) }
    #expect(
      findings(kernel) == [
        "K.swift:99: kernel k [structure]: threads must be a multiple of 32 in 32…1024; "
          + "found 100.",
        "K.swift:99: kernel k [structure]: minBlocksPerMultiprocessor must be in 1…32; found 0.",
        "K.swift:99: kernel k [structure]: clusterSize must be 1, 2, 4, 8 or 16; found 3.",
      ])
  }

  @Test func `a misaligned allocation`() {
    let kernel = makeKernel { builder in
      _ = builder.addShared(name: "a", byteCount: 64, alignment: 24)
      _ = builder.addShared(name: "b", byteCount: 64, alignment: 16, at: 8)
      _ = builder.addShared(
        name: "c", byteCount: 12, alignment: 8, contents: .mbarriers(arrivals: 0))
      builder.use(.u32(1))
    }
    #expect(
      findings(kernel) == [
        "K.swift:99: kernel k [structure]: alignment of shared a must be a power of two; "
          + "found 24.",
        "K.swift:99: kernel k [structure]: shared b must start at a multiple of 16; "
          + "found offset 8, 64 bytes.",
        "K.swift:99: kernel k [structure]: mbarriers c must be 8-byte objects of 1…1048575 "
          + "arrivals; found 12 bytes, alignment 8, 0 arrivals.",
      ])
  }

  @Test func `a missing region`() {
    let kernel = makeKernel { $0.perform(.control(.if(.divergent)), [.pred(true)], at: 2) }
    #expect(
      findings(kernel) == ["K.swift:2: kernel k [structure]: if must have 1…2 regions; found 0."])
  }

  @Test func `a break outside a loop`() {
    let kernel = makeKernel { $0.perform(.control(.breakIf), [.pred(false)], at: 2) }
    #expect(
      findings(kernel) == [
        "K.swift:2: kernel k [structure]: break_if must stand in a loop; found no loop around it."
      ])
  }

  @Test func `a loop without a way out`() {
    let kernel = makeKernel { builder in
      let body = builder.region { $0.use(.u32(1)) }
      builder.emit(.control(.loop(.automatic)), regions: [body], at: line(4))
    }
    #expect(
      findings(kernel) == [
        "K.swift:4: kernel k [structure]: a loop must have a break_if or an exit inside; "
          + "found none that can be taken."
      ])
  }

  @Test func `the break of an inner loop does not end the outer one`() {
    let kernel = makeKernel { builder in
      let inner = builder.region { $0.perform(.control(.breakIf), [.pred(true)]) }
      let outer = builder.region {
        $0.emit(.control(.loop(.automatic)), regions: [inner], at: line(5))
      }
      builder.emit(.control(.loop(.automatic)), regions: [outer], at: line(4))
    }
    #expect(findings(kernel).count == 1)
    #expect(findings(kernel).first?.hasPrefix("K.swift:4: ") == true)
  }

  @Test func `unreachable code`() {
    let kernel = makeKernel { builder in
      builder.perform(.control(.exit), at: 2)
      builder.perform(.control(.comment("still fine")), at: 3)
      builder.use(.u32(1), at: 4)
    }
    #expect(
      findings(kernel) == [
        "K.swift:4: kernel k [structure]: code must be reachable; "
          + "found st.global.b32 after exit of K.swift:2."
      ])
  }

  @Test func `a wait behind a loop that only exits leave`() {
    let kernel = makeKernel { builder in
      let tid = builder.thread()
      let last = builder.value(.bits(.setp(.eq)), [tid, .u32(0)], type: .pred, at: line(1))
      let body = builder.region { round in
        let way = round.region { $0.perform(.control(.exit), at: 3) }
        round.emit(.control(.if(.divergent)), [.value(last)], regions: [way], at: line(2))
        let inner = round.region { $0.perform(.control(.breakIf), [.value(last)], at: 4) }
        round.emit(.control(.loop(.automatic)), regions: [inner], at: line(4))
      }
      builder.emit(.control(.loop(.automatic)), regions: [body], at: line(5))
      builder.perform(.copy(.asyncWait(pending: 0)), at: 6)
    }
    #expect(
      findings(kernel) == [
        "K.swift:6: kernel k [structure]: code must be reachable; "
          + "found cp.async.wait_group after loop of K.swift:5."
      ])
  }

  @Test func `a wait behind a branch whose ways all exit`() {
    func kernel(_ exits: Int) -> KernelIR {
      makeKernel { builder in
        let tid = builder.thread()
        let first = builder.value(.bits(.setp(.eq)), [tid, .u32(0)], type: .pred, at: line(1))
        let ways = (0..<2).map { way in
          builder.region { if way < exits { $0.perform(.control(.exit), at: 2) } }
        }
        builder.emit(.control(.if(.divergent)), [.value(first)], regions: ways, at: line(3))
        builder.perform(.synchronisation(.gridDependencyWait), at: 4)
      }
    }
    #expect(
      findings(kernel(2)) == [
        "K.swift:4: kernel k [structure]: code must be reachable; "
          + "found griddepcontrol.wait after if of K.swift:3."
      ])
    #expect(findings(kernel(1)) == [])
  }

  @Test func `a barrier under a guard`() {
    let kernel = makeKernel { builder in
      let id = builder.addBarrier(name: "all", firstID: 0, threads: 128)
      let then = builder.region { $0.perform(.synchronisation(.barrierSync(id)), at: 5) }
      builder.emit(.control(.if(.predicated)), [.pred(true)], regions: [then], at: line(4))
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [structure]: a predicated region must hold ops that a guard can "
          + "express; found bar.sync. Use a uniform or divergent if."
      ])
  }

  @Test func `control flow under a guard`() {
    let kernel = makeKernel { builder in
      let then = builder.region { inner in
        inner.perform(.control(.comment("fine")), at: 6)
        inner.perform(.control(.breakIf), [.pred(true)], at: 7)
      }
      let body = builder.region { loop in
        loop.emit(.control(.if(.predicated)), [.pred(true)], regions: [then], at: line(5))
      }
      builder.emit(.control(.loop(.rolled)), regions: [body], at: line(4))
    }
    #expect(
      findings(kernel) == [
        "K.swift:7: kernel k [structure]: a predicated region must hold ops that a guard can "
          + "express; found break_if. Use a uniform or divergent if."
      ])
  }

  @Test func `roles that overlap, stand twice or leave the block`() {
    let kernel = makeKernel { builder in
      let roles = [Role(name: "a", warps: 0..<3), Role(name: "b", warps: 2..<5)]
      for place in [2, 3] {
        builder.emit(
          .control(.roles(roles)), [.u32(0)], regions: [Region(), Region()], at: line(place))
      }
      let again = [Role(name: "c", warps: 0..<2), Role(name: "d", warps: 1..<3)]
      let inner = builder.region {
        $0.emit(.control(.roles(again)), [.u32(0)], regions: [Region(), Region()], at: line(6))
      }
      builder.emit(.control(.if(.uniform)), [.pred(true)], regions: [inner], at: line(5))
    }
    #expect(
      findings(kernel) == [
        "K.swift:2: kernel k [structure]: role b must have warps of 0..<4; found 2..<5.",
        "K.swift:3: kernel k [structure]: roles must stand once, at the top level; "
          + "found a second one.",
        "K.swift:3: kernel k [structure]: role b must have warps of 0..<4; found 2..<5.",
        "K.swift:6: kernel k [structure]: roles must stand once, at the top level; "
          + "found nesting depth 1.",
        "K.swift:6: kernel k [structure]: roles must have disjoint warps; found d with 1..<3.",
      ])
  }
}
