import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct BulkCopyTests {
  private enum Source { case bulk, tensor(Swizzle), multicast }

  private let words = (0..<1024).map { UInt32($0) }

  /// Thread 0 loads 1 KiB; all 64 threads wait for it and store four words each.
  private func kernel(
    _ source: Source, waits: Bool = true, fencesInit: Bool = true, writesFirst: Bool = false
  ) -> KernelIR {
    var isMulticast = false
    if case .multicast = source { isMulticast = true }
    return makeKernel(threads: 64, cluster: isMulticast ? 2 : 1) { b in
      let input: Operand
      if case .tensor = source {
        let id = b.addParameter(name: "map", kind: .tensorMap)
        input = b.get(.memory(.parameterAddress(id)), [], .u64)
      } else {
        input = b.pointer("in")
      }
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 1024, alignment: 1024)
      let bars = b.addShared(name: "full", byteCount: 8, contents: .mbarriers(arrivals: 1))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let all = b.blockBarrier(threads: 64)
      let tid = b.thread()
      let isFirst = b.compare(.eq, tid, .u32(0))
      b.when(isFirst) { b in
        b.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)])
        if fencesInit { b.perform(.synchronisation(.fence(.mbarrierInit))) }
        if writesFirst { b.store(.shared, tile, .u32(1)) }
        b.perform(
          .synchronisation(.mbarrierArriveExpect(Op.MBarrierArrive())), [bar, .u32(1024)])
      }
      b.perform(.synchronisation(.barrierSync(all)))
      if isMulticast {
        b.perform(.synchronisation(.clusterArrive(.release)))
        b.perform(.synchronisation(.clusterWait))
      }
      let rank = b.get(.special(.clusterRank))
      b.when(b.compare(.eq, b.get(.bits(.or), [tid, rank]), .u32(0)), at: 20) { b in
        switch source {
        case .bulk:
          b.perform(
            .copy(.bulkLoad(Op.BulkAccess())), [tile, input, .u32(1024), bar], at: 21)
        case .multicast:
          b.perform(
            .copy(.bulkLoad(Op.BulkAccess(isMulticast: true))),
            [tile, input, .u32(1024), bar, .constant(.u16(3))], at: 21)
        case .tensor:
          b.perform(
            .copy(.tensorLoad(Op.TensorAccess(dimensions: 2))),
            [tile, input, .constant(.s32(0)), .constant(.s32(-2)), bar], at: 21)
        }
      }
      if waits {
        b.perform(
          .synchronisation(.mbarrierWait(Op.MBarrierWait())), [bar, .u32(0)], at: 30)
      }
      for part in 0..<4 {
        let index = b.get(.arithmetic(.add), [tid, .u32(UInt32(64 * part))])
        let place = b.get(.arithmetic(.mad), [rank, .u32(256), index])
        b.store(
          .global, b.element(out, place, stride: 4), b.load(.shared, b.word(tile, index), at: 31))
      }
    }
  }

  private func launch(
    _ source: Source, _ kernel: KernelIR, seed: UInt64
  ) -> (report: SimulationReport, output: [UInt32]) {
    var memory = GlobalMemory()
    let input = memory.bind("in", elements: words)
    let output = memory.bindOutput("out", byteCount: 2048)
    var argument = KernelArgument.pointer(input)
    if case .tensor(let swizzle) = source {
      // 32 rows of 32 words; a box is 8 rows of 32 words.
      argument = .tensorMap(
        TensorMapDescription(
          address: input, elementByteCount: 4, sizes: [32, 32], strides: [128], box: [32, 8],
          swizzle: swizzle))
    }
    let report = Simulator(kernel, options: SimulationOptions(seed: seed)).run(
      grid: GridSize(kernel.launch.clusterSize), arguments: [argument, .pointer(output)],
      memory: &memory)
    return (report, memory.elements(at: output, as: UInt32.self))
  }

  @Test func `a bulk load arrives with its barrier`() {
    for seed in UInt64(0)..<8 {
      let (report, output) = launch(.bulk, kernel(.bulk), seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(Array(output[..<256]), Array(words[..<256]), "seed \(seed)")
    }
  }

  @Test func `multicast reaches both blocks of a cluster`() {
    for seed in UInt64(0)..<8 {
      let (report, output) = launch(.multicast, kernel(.multicast), seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output, Array(words[..<256] + words[..<256]), "seed \(seed)")
    }
  }

  @Test func `a tensor box is swizzled and filled with zeros outside`() {
    for swizzle in [Swizzle.none, .bytes128] {
      let source = Source.tensor(swizzle)
      let (report, output) = launch(source, kernel(source), seed: 3)
      expect(report.errors.isEmpty, "\(swizzle): \(report.errors)")
      for row in 0..<8 {
        for column in 0..<32 {
          let chunk = swizzle == .none ? column / 4 : column / 4 ^ row
          expectEqual(
            output[row * 32 + chunk * 4 + column % 4],
            row < 2 ? 0 : words[(row - 2) * 32 + column], "\(swizzle) \(row) \(column)")
        }
      }
    }
  }

  @Test func `a missing wait is found for every seed`() {
    for seed in UInt64(0)..<16 {
      let error = launch(.bulk, kernel(.bulk, waits: false), seed: seed).report.errors.first
      switch error?.kind {
      case .missingWait, .uninitialisedRead: break
      case let other: Issue.record("seed \(seed): \(String(describing: other))")
      }
    }
  }

  @Test func `missing fences of the barrier and of earlier stores are found`() {
    let barrier = launch(.bulk, kernel(.bulk, fencesInit: false), seed: 1).report.errors.first
    #expect(
      barrier?.kind
        == .barrier("fence(.mbarrierInit) must follow the init before asynchronous use"))
    let store = launch(.bulk, kernel(.bulk, writesFirst: true), seed: 1).report.errors.first
    guard case .missingProxyFence = store?.kind else {
      Issue.record("found \(String(describing: store))")
      return
    }
  }
}
