import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

/// Copies between the blocks of a cluster, and reducing tensor stores.
@Suite struct ClusterCopyTests {
  private enum How { case bulk, store }

  /// Block 0 sends 128 bytes to block 1, which stores them.
  private func send(_ how: How, waits: Bool = true, reuses: Bool = false) -> KernelIR {
    makeKernel(cluster: 2) { b in
      let out = b.pointer("out")
      let source = b.shared("source", byteCount: 128, alignment: 128)
      let target = b.shared("target", byteCount: 128, alignment: 128)
      let bars = b.addShared(name: "full", byteCount: 8, contents: .mbarriers(arrivals: 1))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let (lane, rank) = (b.lane(), b.get(.special(.clusterRank)))
      let isFirst = b.compare(.eq, lane, .u32(0))
      b.when(isFirst) { b in
        b.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)])
        b.perform(.synchronisation(.fence(.mbarrierInit)))
        b.perform(.synchronisation(.mbarrierArriveExpect(Op.MBarrierArrive())), [bar, .u32(128)])
      }
      b.store(.shared, b.word(source, lane), b.get(.arithmetic(.mul), [lane, .u32(3)]))
      b.perform(.synchronisation(.fence(.proxyAsync(.shared))))
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.perform(.synchronisation(.clusterArrive(.release)))
      b.perform(.synchronisation(.clusterWait))
      b.when(
        b.compare(.eq, rank, .u32(0)),
        { b in
          let remote = b.get(.memory(.mapa), [target, .u32(1)])
          let signal = b.get(.memory(.mapa), [bar, .u32(1)])
          switch how {
          case .bulk:
            b.when(isFirst) {
              $0.perform(
                .copy(.bulkCopyToCluster(Op.BulkAccess())), [remote, source, .u32(128), signal],
                at: 20)
            }
            if reuses { b.store(.shared, b.word(source, lane), .u32(0), at: 22) }
          case .store:
            b.perform(
              .copy(.storeAsync(offset: 0, barrierOffset: 0)),
              [b.word(remote, lane), b.get(.arithmetic(.mul), [lane, .u32(3)]), signal], at: 20)
          }
        },
        otherwise: { b in
          if waits {
            b.perform(
              .synchronisation(.mbarrierWait(Op.MBarrierWait(scope: .cluster))), [bar, .u32(0)])
          }
          b.store(
            .global, b.element(out, lane, stride: 4), b.load(.shared, b.word(target, lane), at: 25))
        })
      b.perform(.synchronisation(.clusterArrive(.release)))
      b.perform(.synchronisation(.clusterWait))
    }
  }

  @Test(arguments: [0, 1]) func `a block sends words to another`(_ kind: Int) {
    for seed in UInt64(0)..<8 {
      let (report, output) = run(
        send(kind == 0 ? .bulk : .store), outputWords: 32, blocks: 2, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output, (0..<32).map { UInt32($0 * 3) }, "seed \(seed)")
    }
  }

  @Test func `a missing wait and a source overwritten in flight`() {
    for kernel in [send(.bulk, waits: false), send(.store, waits: false)] {
      for seed in UInt64(0)..<8 {
        let kind = run(kernel, outputWords: 32, blocks: 2, seed: seed).report.errors.first?.kind
        switch kind {
        case .missingWait, .uninitialisedRead: break
        default: Issue.record("seed \(seed): \(String(describing: kind))")
        }
      }
    }
    let found = (UInt64(0)..<16).contains { seed in
      let report = run(send(.bulk, reuses: true), outputWords: 32, blocks: 2, seed: seed).report
      if case .missingWait = report.errors.first?.kind { return true }
      return false
    }
    #expect(found)
  }

  @Test func `a block that ends while another uses its memory`() {
    let kernel = makeKernel(cluster: 2) { b in
      let tile = b.shared("tile", byteCount: 128)
      let (lane, rank) = (b.lane(), b.get(.special(.clusterRank)))
      b.store(.shared, b.word(tile, lane), lane)
      b.perform(.synchronisation(.clusterArrive(.release)))
      b.perform(.synchronisation(.clusterWait))
      b.when(b.compare(.eq, rank, .u32(0))) { b in
        let remote = b.get(.memory(.mapa), [tile, .u32(1)])
        for _ in 0..<64 { _ = b.load(.sharedCluster, b.word(remote, lane), at: 9) }
      }
    }
    let found = (UInt64(0)..<16).contains { seed in
      if case .missingWait = run(kernel, blocks: 2, seed: seed).report.errors.first?.kind {
        return true
      }
      return false
    }
    #expect(found)
  }

  /// 8 elements of a tensor combined with 8 of shared memory.
  private func reduce(
    _ op: Op.ReductionOp, _ element: TensorMapDescription.Element, byteCount: Int, old: [UInt8],
    new: [UInt8]
  ) -> (SimulationReport, [UInt8]) {
    let kernel = makeKernel { b in
      let id = b.addParameter(name: "map", kind: .tensorMap)
      let map = b.get(.memory(.parameterAddress(id)), [], .u64)
      let input = b.pointer("in")
      let tile = b.shared("tile", byteCount: new.count, alignment: 128)
      let lane = b.lane()
      b.when(b.compare(.lt, lane, .u32(UInt32(new.count / 4)))) { b in
        b.store(
          .shared, b.word(tile, lane), b.load(.global, b.element(input, lane, stride: 4)))
        b.perform(.synchronisation(.fence(.proxyAsync(.shared))))
      }
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.when(b.compare(.eq, lane, .u32(0))) { b in
        b.perform(
          .copy(.tensorStore(Op.TensorAccess(dimensions: 1), reduction: op)),
          [map, .constant(.s32(0)), tile], at: 5)
        b.perform(.copy(.bulkCommit))
        b.perform(.copy(.bulkWait(pending: 0, isReadOnly: false)))
      }
    }
    var memory = GlobalMemory()
    let out = memory.bind("out", bytes: old, isWritable: true)
    let input = memory.bind("in", bytes: new)
    let map = TensorMapDescription(
      address: out, elementByteCount: byteCount, sizes: [new.count / byteCount], strides: [],
      box: [new.count / byteCount], element: element)
    let report = Simulator(kernel).run(
      grid: GridSize(1), arguments: [.tensorMap(map), .pointer(input)], memory: &memory)
    return (report, memory.elements(at: out, as: UInt8.self))
  }

  private func bytes<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] {
    values.withUnsafeBytes { Array($0) }
  }

  @Test func `a tensor store combines with what is there`() {
    let (x, y): ([UInt32], [UInt32]) = ([1, .max, 12, 7], [5, 2, 10, 7])
    for (op, expected) in [
      (.add, [6, 1, 22, 14]), (.min, [1, 2, 10, 7]), (.max, [5, .max, 12, 7]),
      (.and, [1, 2, 8, 7]), (.or, [5, .max, 14, 7]), (.xor, [4, .max - 2, 6, 0]),
    ] as [(Op.ReductionOp, [UInt32])] {
      let (report, result) = reduce(op, .unsigned, byteCount: 4, old: bytes(x), new: bytes(y))
      expect(report.errors.isEmpty, "\(op): \(report.errors)")
      expectEqual(result, bytes(expected), "\(op)")
    }
    let floats = reduce(
      .add, .f32, byteCount: 4, old: bytes([1.5, 2, 3, 4] as [Float]),
      new: bytes([1, 0.25, -3, 1] as [Float]))
    #expect(floats.1 == bytes([2.5, 2.25, 0, 5] as [Float]))
    let halves = { (values: [Float]) in bytes(values.map { BFloat16($0).bitPattern }) }
    let sums = reduce(
      .add, .bf16, byteCount: 2, old: halves([1, 2, 3, 4, 5, 6, 7, 8]),
      new: halves([1, 1, 1, 1, 1, 1, 1, -8]))
    #expect(sums.1 == halves([2, 3, 4, 5, 6, 7, 8, 0]))
  }

  @Test func `a reduction that the element type lacks`() {
    let (report, result) = reduce(
      .xor, .f32, byteCount: 4, old: bytes([1, 2, 3, 4] as [Float]),
      new: bytes([1, 2, 3, 4] as [Float]))
    guard case .invalidOperand = report.errors.first?.kind else {
      Issue.record("found \(report.errors)")
      return
    }
    #expect(result == bytes([1, 2, 3, 4] as [Float]))
  }
}
