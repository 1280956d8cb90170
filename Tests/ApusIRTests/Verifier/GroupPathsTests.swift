import ApusIR
import Testing

@Suite struct GroupPathsTests {
  private let copy = Op.copy(.async(Op.AsyncCopy(byteCount: 16)))
  private let addresses: [Operand] = [.u32(0), .constant(.u64(0))]

  private func commit(_ builder: inout IRBuilder, at place: Int) {
    builder.perform(copy, addresses, at: place)
    builder.perform(.copy(.asyncCommit), at: place)
  }

  private func wait(_ builder: inout IRBuilder, pending: Int, at place: Int) {
    builder.perform(.copy(.asyncWait(pending: pending)), at: place)
  }

  private func message(_ pending: Int, _ committed: Int, line: Int) -> String {
    "K.swift:\(line): kernel k [asyncGroups]: cp.async.wait_group must leave fewer groups pending "
      + "than are committed before it; found pending \(pending) after at most \(committed)."
  }

  @Test func `a wait that leaves every group pending`() {
    let kernel = makeKernel { builder in
      commit(&builder, at: 1)
      wait(&builder, pending: 1, at: 2)
      commit(&builder, at: 3)
      wait(&builder, pending: 1, at: 4)
      wait(&builder, pending: 0, at: 5)
    }
    #expect(findings(kernel) == [message(1, 1, line: 2)])
  }

  @Test func `a wait before the first commit`() {
    let kernel = makeKernel { builder in
      wait(&builder, pending: 0, at: 1)
      commit(&builder, at: 2)
      wait(&builder, pending: 0, at: 3)
    }
    #expect(findings(kernel) == [message(0, 0, line: 1)])
  }

  @Test func `products and bulk stores are counted for themselves`() {
    let kernel = makeKernel { builder in
      let d = builder.accumulators(4)
      builder.perform(.tensorCore(.wgmmaFence))
      builder.product(d, at: 2)
      builder.perform(.tensorCore(.wgmmaCommit), at: 2)
      builder.perform(.tensorCore(.wgmmaWait(pending: 1)), at: 3)
      builder.perform(.tensorCore(.wgmmaWait(pending: 0)), at: 4)
      builder.perform(
        .copy(.bulkStore(Op.BulkAccess())), [.constant(.u64(0)), .u32(0), .u32(16)], at: 5)
      builder.perform(.copy(.bulkCommit), at: 5)
      builder.perform(.copy(.bulkWait(pending: 2, isReadOnly: true)), at: 6)
    }
    #expect(
      findings(kernel) == [
        "K.swift:3: kernel k [asyncGroups]: wgmma.wait_group must leave fewer groups pending than "
          + "are committed before it; found pending 1 after at most 1.",
        "K.swift:6: kernel k [asyncGroups]: cp.async.bulk.wait_group must leave fewer groups "
          + "pending than are committed before it; found pending 2 after at most 1.",
      ])
  }

  @Test func `a wait in another role than the commit`() {
    let kernel = makeKernel(threads: 64) { builder in
      let producer = builder.region { commit(&$0, at: 2) }
      let consumer = builder.region { wait(&$0, pending: 0, at: 5) }
      builder.emit(
        .control(
          .roles([
            Role(name: "producer", warps: 0..<1), Role(name: "consumer", warps: 1..<2),
          ])), [.u32(0)], regions: [producer, consumer], at: line(7))
    }
    #expect(findings(kernel) == [message(0, 0, line: 5)])
  }

  /// A loop of which each round waits, leaving `pending`, and commits one group more.
  private func pipeline(prologue: Int, pending: Int, leavesBeforeCommit: Bool) -> KernelIR {
    makeKernel { builder in
      let tid = builder.thread()
      let last = builder.value(.bits(.setp(.eq)), [tid, .u32(0)], type: .pred, at: line(1))
      for _ in 0..<prologue { commit(&builder, at: 1) }
      let body = builder.region { round in
        wait(&round, pending: pending, at: 2)
        if leavesBeforeCommit { round.perform(.control(.breakIf), [.pred(true)], at: 3) }
        if !leavesBeforeCommit {
          commit(&round, at: 4)
          round.perform(.control(.breakIf), [.value(last)], at: 5)
        }
      }
      builder.emit(.control(.loop(.automatic)), regions: [body], at: line(6))
      wait(&builder, pending: 0, at: 7)
    }
  }

  @Test func `a pipeline's wait counts the groups of earlier rounds`() {
    #expect(findings(pipeline(prologue: 0, pending: 2, leavesBeforeCommit: false)) == [])
    #expect(findings(pipeline(prologue: 2, pending: 1, leavesBeforeCommit: true)) == [])
    #expect(
      findings(pipeline(prologue: 2, pending: 2, leavesBeforeCommit: true)) == [
        message(2, 2, line: 2)
      ])
  }

  @Test func `a branch counts with the larger way`() {
    func kernel(pending: Int) -> KernelIR {
      makeKernel { builder in
        let tid = builder.thread()
        let odd = builder.value(.bits(.setp(.eq)), [tid, .u32(1)], type: .pred, at: line(1))
        let way = builder.region { commit(&$0, at: 2) }
        builder.emit(.control(.if(.divergent)), [.value(odd)], regions: [way], at: line(3))
        wait(&builder, pending: pending, at: 4)
      }
    }
    #expect(findings(kernel(pending: 0)) == [])
    #expect(findings(kernel(pending: 1)) == [message(1, 1, line: 4)])
  }
}
