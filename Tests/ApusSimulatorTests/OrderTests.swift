import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// Order between lanes of a warp, and between proxies lane by lane.
@Suite struct OrderTests {
  private func kinds(
    _ kernel: KernelIR, words: Int = 64, seeds: Range<UInt64> = 0..<8
  ) -> [SimulationError.Kind?] {
    seeds.map { run(kernel, outputWords: words, seed: $0).report.errors.first?.kind }
  }

  private func isRace(_ kind: SimulationError.Kind?) -> Bool {
    if case .race = kind { true } else { false }
  }

  /// Each lane stores a word, loads its neighbour's, and stores again.
  private func exchange(afterStore: Bool, afterLoad: Bool) -> KernelIR {
    makeKernel { b in
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 128)
      let lane = b.lane()
      let sync = Op.warp(.syncWarp(members: Op.allLanes))
      b.store(.shared, b.word(tile, lane), lane, at: 3)
      if afterStore { b.perform(sync) }
      let other = b.load(.shared, b.word(tile, b.get(.bits(.xor), [lane, .u32(1)])), at: 4)
      if afterLoad { b.perform(sync) }
      b.store(.shared, b.word(tile, lane), other, at: 5)
      b.store(.global, b.element(out, lane, stride: 4), other)
    }
  }

  @Test func `lanes that exchange words meet before and after`() {
    #expect(kinds(exchange(afterStore: true, afterLoad: true)).allSatisfy { $0 == nil })
    #expect(kinds(exchange(afterStore: false, afterLoad: true)).allSatisfy(isRace))
    #expect(kinds(exchange(afterStore: true, afterLoad: false)).allSatisfy(isRace))
  }

  /// Warp 0 fills a tile, one lane arrives for all, warp 1 reads it.
  private func elected(meets: Bool) -> KernelIR {
    makeKernel(threads: 64) { b in
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 128)
      let bars = b.addShared(name: "full", byteCount: 8, contents: .mbarriers(arrivals: 1))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let all = b.blockBarrier(threads: 64)
      let (tid, lane) = (b.thread(), b.lane())
      b.when(b.compare(.eq, tid, .u32(0))) {
        $0.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)])
      }
      b.perform(.synchronisation(.barrierSync(all)))
      b.when(
        b.compare(.lt, tid, .u32(32)),
        { b in
          b.store(.shared, b.word(tile, lane), tid, at: 6)
          if meets { b.perform(.warp(.syncWarp(members: Op.allLanes))) }
          b.when(b.compare(.eq, lane, .u32(0))) {
            $0.perform(.synchronisation(.mbarrierArrive(Op.MBarrierArrive())), [bar])
          }
        },
        otherwise: { b in
          b.perform(.synchronisation(.mbarrierWait(Op.MBarrierWait())), [bar, .u32(0)])
          b.store(
            .global, b.element(out, lane, stride: 4), b.load(.shared, b.word(tile, lane), at: 9))
        })
    }
  }

  @Test func `the arrival of one lane publishes the others only after they met`() {
    #expect(kinds(elected(meets: true)).allSatisfy { $0 == nil })
    #expect(kinds(elected(meets: false)).allSatisfy(isRace))
  }

  /// All lanes write, some fence, lane 0 stores the tile with a bulk copy.
  private func bulkStore(fencesAll: Bool, fenceFirst: Bool) -> KernelIR {
    makeKernel { b in
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 128, alignment: 128)
      let lane = b.lane()
      let fence = Op.synchronisation(.fence(.proxyAsync(.shared)))
      let isFirst = b.compare(.eq, lane, .u32(0))
      b.store(.shared, b.word(tile, lane), lane)
      if fenceFirst {
        if fencesAll { b.perform(fence) } else { b.when(isFirst) { $0.perform(fence) } }
      }
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.when(isFirst) { b in
        b.perform(.copy(.bulkStore(Op.BulkAccess())), [out, tile, .u32(128)], at: 5)
        b.perform(.copy(.bulkCommit))
        b.perform(.copy(.bulkWait(pending: 0, isReadOnly: true)))
      }
    }
  }

  @Test func `every writing lane fences before the barrier`() {
    #expect(kinds(bulkStore(fencesAll: true, fenceFirst: true)).allSatisfy { $0 == nil })
    for kernel in [
      bulkStore(fencesAll: false, fenceFirst: true), bulkStore(fencesAll: true, fenceFirst: false),
    ] {
      for case let kind in kinds(kernel) {
        guard case .missingProxyFence = kind else {
          Issue.record("found \(String(describing: kind))")
          continue
        }
      }
    }
  }

  @Test func `all warps of a warpgroup execute the same products`() {
    let kernel = makeKernel(threads: 128) { b in
      b.perform(.tensorCore(.wgmmaFence))
      let tile = b.shared("tile", byteCount: 4096, alignment: 1024)
      let all = b.blockBarrier(threads: 128)
      let tid = b.thread()
      for part in 0..<8 {
        let index = b.get(.arithmetic(.add), [tid, .u32(UInt32(128 * part))])
        b.store(.shared, b.word(tile, index), .u32(0))
      }
      b.perform(.synchronisation(.fence(.proxyAsync(.shared))))
      b.perform(.synchronisation(.barrierSync(all)))
      let rest = MatrixDescriptor(start: 0, leadingOffset: 128, strideOffset: 256, swizzle: .none)
      let start = b.get(.conversion(.integer), [b.get(.bits(.shr), [tile, .u32(4)])], .u64)
      let descriptor = b.get(.bits(.or), [start, .constant(.u64(rest.bits))], .u64)
      let d = (0..<4).map { _ in b.variable(.f32, initial: .f32(0), at: line(1)) }
      b.when(b.compare(.lt, tid, .u32(96))) { b in
        b.perform(.tensorCore(.wgmmaFence))
        b.accumulate(
          .wgmma(Op.WGMMAShape(n: 8, .bf16)), into: d,
          [descriptor, descriptor, .constant(.pred(true))], at: line(30))
        b.perform(.tensorCore(.wgmmaCommit))
        b.perform(.tensorCore(.wgmmaWait(pending: 0)))
      }
    }
    let error = run(kernel).report.errors.first
    #expect(
      error?.kind
        == .barrier("all four warps of a warpgroup must execute the same products and waits"))
  }
}
