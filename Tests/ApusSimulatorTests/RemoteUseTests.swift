import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// What must have happened before shared memory goes, and before a lane overwrites what others read.
@Suite struct RemoteUseTests {
  /// Block 0 arrives at a barrier of block 1, which does not wait for it.
  private func arrival(isOrdered: Bool) -> KernelIR {
    makeKernel(cluster: 2) { b in
      let bars = b.addShared(name: "full", byteCount: 8, contents: .mbarriers(arrivals: 1))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let isFirst = b.compare(.eq, b.lane(), .u32(0))
      let isBlock0 = b.compare(.eq, b.get(.special(.clusterRank)), .u32(0))
      b.when(isFirst) { b in
        b.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)])
        b.perform(.synchronisation(.fence(.mbarrierInit)))
      }
      b.perform(.synchronisation(.clusterArrive(.release)))
      b.perform(.synchronisation(.clusterWait))
      b.when(isBlock0) { b in
        b.when(isFirst) { b in
          let remote = b.get(.memory(.mapa), [bar, .u32(1)])
          b.perform(
            .synchronisation(.mbarrierArrive(Op.MBarrierArrive(space: .sharedCluster))), [remote],
            at: 20)
        }
      }
      guard isOrdered else { return }
      b.perform(.synchronisation(.clusterArrive(.release)))
      b.perform(.synchronisation(.clusterWait))
    }
  }

  @Test func `a block must not end before it was used for the last time`() {
    for seed in UInt64(0)..<8 {
      let sound = run(arrival(isOrdered: true), blocks: 2, seed: seed).report
      expect(sound.errors.isEmpty, "seed \(seed): \(sound.errors)")
      let broken = run(arrival(isOrdered: false), blocks: 2, seed: seed).report
      // Under each seed, whether the arrival comes before the end or after.
      expect(broken.errors.count == 1, "seed \(seed): \(broken.errors)")
    }
  }

  /// Each lane reads a word; then the last overwrites that of the first.
  private func overwrite(meets: Bool) -> KernelIR {
    makeKernel { b in
      let data = b.pointer("in0")
      let lane = b.lane()
      let read = b.load(.global, b.element(data, lane, stride: 4), at: 5)
      if meets { b.perform(.warp(.syncWarp(members: Op.allLanes))) }
      b.when(b.compare(.eq, lane, .u32(31))) { b in
        b.store(.global, b.element(data, .u32(0), stride: 4), read, at: 9)
      }
    }
  }

  @Test func `a lane must not overwrite what another reads before they meet`() {
    for meets in [false, true] {
      var memory = GlobalMemory()
      let data = memory.bind("in0", elements: (0..<32).map { UInt32($0) }, isWritable: true)
      let report = Simulator(overwrite(meets: meets)).run(
        grid: GridSize(1), arguments: [.pointer(data)], memory: &memory)
      expectEqual(report.errors.map(\.location.line), meets ? [] : [9])
    }
  }
}
