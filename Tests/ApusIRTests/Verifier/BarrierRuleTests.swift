import ApusIR
import Testing

@Suite struct NamedBarrierRuleTests {
  @Test func `a barrier that counts more threads than reach it`() {
    let kernel = makeKernel(threads: 256) { builder in
      let id = builder.addBarrier(name: "turn", firstID: 1, threads: 256)
      let sync = builder.region { $0.perform(.synchronisation(.barrierSync(id)), at: 5) }
      builder.emit(
        .control(.roles([Role(name: "a", warps: 0..<4), Role(name: "b", warps: 4..<8)])),
        [.u32(0)], regions: [sync, Region()], at: line(3))
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [namedBarriers]: barrier turn must be reached by the 256 threads it "
          + "counts; found 128 threads whose code reaches it. "
          + "Lower its count or let the other roles arrive."
      ])
  }

  @Test func `a barrier nobody waits at`() {
    let kernel = makeKernel { builder in
      let id = builder.addBarrier(name: "turn", firstID: 1, threads: 64)
      builder.perform(.synchronisation(.barrierArrive(id)), at: 5)
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [namedBarriers]: barrier turn must be synced on by someone; "
          + "found arrivals only."
      ])
  }

  @Test func `two roles that share a barrier`() {
    let kernel = makeKernel(threads: 256) { builder in
      let id = builder.addBarrier(name: "turn", firstID: 1, count: 2, threads: 256)
      let a = builder.region {
        $0.perform(.synchronisation(.barrierSync(id)), [.u32(0)])
        $0.perform(.synchronisation(.barrierArrive(id)), [.u32(1)])
      }
      builder.emit(
        .control(.roles([Role(name: "a", warps: 0..<4), Role(name: "b", warps: 4..<8)])),
        [.u32(0)], regions: [a, a], at: line(3))
    }
    #expect(findings(kernel) == [])
  }
}

@Suite struct MBarrierRuleTests {
  /// A loader (thread count 32) and a reader around one full barrier; `change` breaks it.
  private func kernel(
    arrivals: Int = 1, count: UInt32 = 1, initialises: Bool = true, arrives: Bool = true,
    announces: Bool = true, copies: Bool = true
  ) -> KernelIR {
    makeKernel(threads: 64) { builder in
      let map = builder.addParameter(name: "map", kind: .tensorMap)
      let tile = builder.addShared(name: "tile", byteCount: 1024, alignment: 1024)
      let full = builder.addShared(
        name: "full", byteCount: 8, alignment: 8, contents: .mbarriers(arrivals: arrivals))
      let bar = builder.address(full)
      if initialises {
        builder.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(count)], at: 2)
      }
      let load = builder.region { inner in
        let address = inner.value(
          .memory(.parameterAddress(map)), type: .u64, at: line(3))
        let to = inner.address(tile)
        if announces {
          inner.perform(
            .synchronisation(.mbarrierExpect(Op.MBarrierArrive())), [bar, .u32(1024)], at: 4)
        }
        if copies {
          inner.perform(
            .copy(.tensorLoad(Op.TensorAccess(dimensions: 1))),
            [to, .value(address), .u32(0), bar], at: 5)
        }
        if arrives {
          inner.perform(.synchronisation(.mbarrierArrive(Op.MBarrierArrive())), [bar], at: 6)
        }
      }
      let read = builder.region { inner in
        let moved = inner.binary(.arithmetic(.add), bar, .u32(0))
        inner.perform(
          .synchronisation(.mbarrierWait(Op.MBarrierWait())), [moved, .u32(0)], at: 7)
      }
      builder.emit(
        .control(.roles([Role(name: "load", warps: 0..<1), Role(name: "read", warps: 1..<2)])),
        [.u32(0)], regions: [load, read], at: line(3))
    }
  }

  @Test func `a complete hand-over`() {
    #expect(findings(kernel()) == [])
    #expect(findings(kernel(arrivals: 32, count: 32)) == [])
  }

  @Test func `an initial count other than the table's`() {
    #expect(
      findings(kernel(count: 2)) == [
        "K.swift:2: kernel k [mbarriers]: mbarriers full must be initialised with their 1 "
          + "arrivals; found 2."
      ])
  }

  @Test func `a barrier never initialised`() {
    #expect(
      findings(kernel(initialises: false)) == [
        "K.swift:7: kernel k [mbarriers]: mbarriers full must be initialised; "
          + "found no mbarrier.init."
      ])
  }

  @Test func `a wait that nothing ends`() {
    #expect(
      findings(kernel(arrives: false)) == [
        "K.swift:7: kernel k [mbarriers]: mbarriers full must be arrived at to be waited for; "
          + "found no arrival: the wait never ends."
      ])
  }

  @Test func `more arrivals than the arriving role can make`() {
    #expect(
      findings(kernel(arrivals: 64, count: 64)) == [
        "K.swift:7: kernel k [mbarriers]: mbarriers full must get their 64 arrivals; "
          + "found at most 32 from the roles that arrive."
      ])
  }

  @Test func `bytes announced but not copied, and the reverse`() {
    #expect(
      findings(kernel(copies: false)) == [
        "K.swift:4: kernel k [mbarriers]: bytes announced to mbarriers full must be copied; "
          + "found no copy that signals them."
      ])
    #expect(
      findings(kernel(announces: false)) == [
        "K.swift:5: kernel k [mbarriers]: copies that signal mbarriers full must be announced; "
          + "found no expect_tx."
      ])
  }
}

@Suite struct AsyncGroupRuleTests {
  private func found(_ ops: [Op], operands: [Operand] = []) -> [String] {
    let kernel = makeKernel { builder in
      for (index, op) in ops.enumerated() {
        builder.perform(op, index == 0 ? operands : [], at: index + 1)
      }
    }
    return findings(kernel)
  }

  private let copy = Op.copy(.async(Op.AsyncCopy(byteCount: 16)))
  private let addresses: [Operand] = [.u32(0), .constant(.u64(0))]

  @Test func `copies committed and waited for`() {
    #expect(
      found(
        [copy, .copy(.asyncCommit), .copy(.asyncWait(pending: 0))], operands: addresses) == [])
  }

  @Test func `copies nobody commits`() {
    #expect(
      found([copy], operands: addresses) == [
        "K.swift:1: kernel k [asyncGroups]: cp.async operations must be committed; "
          + "found no cp.async.commit_group."
      ])
  }

  @Test func `a group nobody waits for`() {
    #expect(
      found([copy, .copy(.asyncCommit)], operands: addresses) == [
        "K.swift:2: kernel k [asyncGroups]: a cp.async group must be waited for; "
          + "found no cp.async.wait_group."
      ])
  }

  @Test func `a wait without a group`() {
    #expect(
      found([.copy(.bulkWait(pending: 0, isReadOnly: true))]) == [
        "K.swift:1: kernel k [asyncGroups]: cp.async.bulk.wait_group must have a group to wait "
          + "for; found no cp.async.bulk.commit_group."
      ])
  }

  @Test func `an empty group`() {
    #expect(
      found([.copy(.bulkCommit), .copy(.bulkWait(pending: 0, isReadOnly: false))]) == [
        "K.swift:1: kernel k [asyncGroups]: a cp.async.bulk group must have operations; "
          + "found none in the kernel."
      ])
  }
}

@Suite struct VerifierTests {
  @Test func `checking a module throws all findings`() {
    let broken = makeKernel { $0.perform(.control(.breakIf), [.pred(false)], at: 2) }
    let module = ModuleIR(kernels: [broken, broken])
    let error = #expect(throws: VerificationError.self) {
      try Verifier.check(module, target: .sm80)
    }
    #expect(error?.diagnostics.count == 2)
    let line =
      "K.swift:2: kernel k [structure]: break_if must stand in a loop; found no loop around it."
    #expect(error?.description == "\(line)\n\(line)")
  }

  @Test func `a valid module passes`() throws {
    try Verifier.check(ModuleIR(kernels: [makeKernel { $0.use(.u32(1)) }]), target: .sm80)
  }
}
