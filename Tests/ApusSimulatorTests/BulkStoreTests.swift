import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct BulkStoreTests {
  private struct Parts {
    var fence = true
    var wait = true
    var overwrites = false
    var tensor = false
  }

  /// 32 lanes fill 128 bytes, lane 0 stores them.
  private func kernel(_ parts: Parts) -> KernelIR {
    makeKernel { b in
      let out: Operand
      if parts.tensor {
        let id = b.addParameter(name: "map", kind: .tensorMap)
        out = b.get(.memory(.parameterAddress(id)), [], .u64)
      } else {
        out = b.pointer("out")
      }
      let tile = b.shared("tile", byteCount: 128, alignment: 128)
      let lane = b.lane()
      b.store(.shared, b.word(tile, lane), b.get(.arithmetic(.mul), [lane, .u32(5)]))
      if parts.fence { b.perform(.synchronisation(.fence(.proxyAsync(.shared)))) }
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.when(b.compare(.eq, lane, .u32(0))) { b in
        if parts.tensor {
          b.perform(
            .copy(.tensorStore(Op.TensorAccess(dimensions: 1), reduction: nil)),
            [out, .constant(.s32(-4)), tile], at: 5)
        } else {
          b.perform(.copy(.bulkStore(Op.BulkAccess())), [out, tile, .u32(128)], at: 5)
        }
        b.perform(.copy(.bulkCommit))
        if parts.overwrites { b.store(.shared, tile, .u32(1), at: 7) }
        if parts.wait { b.perform(.copy(.bulkWait(pending: 0, isReadOnly: true)), at: 8) }
      }
    }
  }

  private let values = (0..<32).map { UInt32($0 * 5) }

  @Test func `a bulk store copies, a tensor store clips`() {
    let (report, output) = run(kernel(Parts()), outputWords: 32)
    #expect(report.errors == [])
    #expect(output == values)
    var memory = GlobalMemory()
    let address = memory.bindOutput("out", byteCount: 128)
    let map = TensorMapDescription(
      address: address, elementByteCount: 4, sizes: [32], strides: [], box: [32])
    let clipped = Simulator(kernel(Parts(tensor: true))).run(
      grid: GridSize(1), arguments: [.tensorMap(map)], memory: &memory)
    #expect(clipped.errors == [])
    #expect(
      memory.elements(at: address, as: UInt32.self) == Array(values[4...]) + [0, 0, 0, 0])
  }

  @Test func `a missing fence, a missing wait and an early overwrite`() {
    let fence = run(kernel(Parts(fence: false)), outputWords: 32).report.errors.first
    guard case .missingProxyFence = fence?.kind else {
      Issue.record("found \(String(describing: fence))")
      return
    }
    for parts in [Parts(wait: false), Parts(overwrites: true)] {
      let error = run(kernel(parts), outputWords: 32).report.errors.first
      guard case .missingWait = error?.kind else {
        Issue.record("\(parts): found \(String(describing: error))")
        continue
      }
    }
  }

  @Test func `blocks of a cluster exchange through mapa and the cluster barrier`() {
    for arrives in [true, false] {
      let kernel = makeKernel(cluster: 2) { b in
        let out = b.pointer("out")
        let tile = b.shared("tile", byteCount: 128)
        let (lane, rank) = (b.lane(), b.get(.special(.clusterRank)))
        let other = b.get(.bits(.xor), [rank, .u32(1)])
        let remote = b.get(.memory(.mapa), [tile, other])
        let value = b.get(.arithmetic(.mad), [rank, .u32(100), lane])
        b.store(.sharedCluster, b.word(remote, lane), value, at: 4)
        b.perform(.synchronisation(.clusterArrive(arrives ? .release : .relaxed)), at: 5)
        b.perform(.synchronisation(.clusterWait), at: 6)
        let index = b.get(.arithmetic(.mad), [rank, .u32(32), lane])
        b.store(
          .global, b.element(out, index, stride: 4), b.load(.shared, b.word(tile, lane), at: 7))
      }
      for seed in UInt64(0)..<8 {
        let (report, output) = run(kernel, outputWords: 64, blocks: 2, seed: seed)
        expectEqual(report.errors.isEmpty, arrives, "seed \(seed): \(report.errors)")
        if arrives {
          let all = (0..<32).map { UInt32($0 + 100) } + (0..<32).map { UInt32($0) }
          expectEqual(output, all, "seed \(seed)")
        }
      }
    }
  }
}
