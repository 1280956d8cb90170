import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct KernelMutationTests {
  /// Two warps exchange words around `count` barriers.
  private func barriers(_ count: Int) -> KernelIR {
    makeKernel(threads: 64) { b in
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 256)
      let all = b.blockBarrier(threads: 64)
      let tid = b.thread()
      b.store(.shared, b.word(tile, tid), tid)
      for number in 0..<count {
        b.perform(.synchronisation(.barrierSync(all)), at: 10 + number)
      }
      let other = b.get(.arithmetic(.sub), [.u32(63), tid])
      b.store(.global, b.element(out, tid, stride: 4), b.load(.shared, b.word(tile, other)))
    }
  }

  private func mutate(_ kernel: KernelIR) -> MutationRun {
    MutationRun(of: kernel, target: .sm90a, seeds: 0..<4) { kernel, seed in
      let (report, output) = run(kernel, outputWords: 64, seed: seed)
      return MutationRun.Result(
        errors: report.errors, isCorrect: output == (0..<64).reversed().map { UInt32($0) })
    }
  }

  @Test func `a needed barrier is caught, one of two survives`() {
    let needed = mutate(barriers(1))
    #expect(needed.count == 1 && needed.caught.count == 1)
    #expect(needed.caught.first?.diagnostic == nil && needed.caught.first?.error != nil)
    let spare = mutate(barriers(2))
    #expect(spare.caught.isEmpty && spare.wrongResults.isEmpty)
    #expect(spare.survivors.map(\.location.line) == [10, 11])
    #expect(spare.survivors.first?.description.hasPrefix("bar.sync removed at K.swift:10") == true)
  }

  @Test func `a mutant without a report but with wrong results is listed apart`() {
    let run = MutationRun(of: barriers(2), target: .sm90a, seeds: 0..<1) { _, _ in
      MutationRun.Result(errors: [], isCorrect: false)
    }
    #expect(run.wrongResults.count == 2 && run.survivors.isEmpty && run.caught.isEmpty)
  }

  @Test func `each kind of op has its mistakes`() {
    typealias Change = KernelMutation.Change
    let arrive = Op.MBarrierArrive()
    for (op, operands, changes) in [
      (.synchronisation(.mbarrierWait(Op.MBarrierWait())), 2, [.removed, .parityFlipped]),
      (.synchronisation(.mbarrierInit(offset: 0)), 2, [.removed, .moreArrivals, .fewerArrivals]),
      (.synchronisation(.mbarrierArrive(arrive)), 1, [.removed]),
      (.synchronisation(.mbarrierArriveExpect(arrive)), 2, [.removed, .moreBytes, .fewerBytes]),
      (.synchronisation(.fence(.mbarrierInit)), 0, [.removed]),
      (.synchronisation(.clusterArrive(.release)), 0, [.removed]),
      (.synchronisation(.clusterWait), 0, [.removed]),
      (.warp(.syncWarp(members: Op.allLanes)), 0, [.removed]),
      (.copy(.asyncCommit), 0, [.removed]),
      (.copy(.asyncWait(pending: 1)), 0, [.removed, .weakerWait]),
      (.copy(.bulkWait(pending: 0, isReadOnly: true)), 0, [.removed, .weakerWait]),
      (.tensorCore(.wgmmaWait(pending: 7)), 0, [.removed]),
      (.tensorCore(.wgmmaFence), 0, [.removed]),
      (.special(.laneIndex), 0, []),
    ] as [(Op, Int, [Change])] {
      let kernel = makeKernel { b in
        b.perform(op, Array(repeating: .u32(2), count: operands), at: 5)
      }
      let mutants = KernelMutation.all(of: kernel)
      expectEqual(mutants.map(\.change), changes, "\(op)")
      for mutant in mutants {
        expect(mutant.kernel != kernel && mutant.location.line == 5, "\(op)")
        let count = mutant.kernel.body.totalNodeCount
        switch mutant.change {
        case .removed: expectEqual(count, 0, "\(op)")
        case .weakerWait: expectEqual(count, 1, "\(op)")
        default: expectEqual(count, 2, "\(op)")
        }
      }
    }
  }

  @Test func `ops in nested regions are reached one at a time`() {
    let sync = Op.warp(.syncWarp(members: Op.allLanes))
    let kernel = makeKernel { b in
      b.loop { b in
        b.perform(sync, at: 1)
        b.when(
          .constant(.pred(true)), { $0.perform(sync, at: 2) },
          otherwise: { $0.perform(sync, at: 3) })
      }
      b.perform(sync, at: 4)
    }
    let mutants = KernelMutation.all(of: kernel)
    #expect(mutants.map(\.location.line) == [1, 2, 3, 4])
    let total = kernel.body.totalNodeCount
    #expect(mutants.allSatisfy { $0.kernel.body.totalNodeCount == total - 1 })
    #expect(Set(mutants.map(\.kernel)).count == 4)
  }
}
