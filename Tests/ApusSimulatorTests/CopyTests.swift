import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct CopyTests {
  /// Each of 64 threads copies a word with cp.async and reads its neighbour's after a barrier.
  private func pipeline(waits: Bool, barrier: Bool) -> KernelIR {
    makeKernel(threads: 64) { b in
      let (source, out) = (b.pointer("in"), b.pointer("out"))
      let tile = b.shared("tile", byteCount: 256)
      let all = b.blockBarrier(threads: 64)
      let tid = b.thread()
      b.perform(
        .copy(.async(Op.AsyncCopy(byteCount: 4))),
        [b.word(tile, tid), b.element(source, tid, stride: 4)], at: 10)
      b.perform(.copy(.asyncCommit))
      if waits { b.perform(.copy(.asyncWait(pending: 0)), at: 12) }
      if barrier { b.perform(.synchronisation(.barrierSync(all)), at: 13) }
      let other = b.get(.bits(.xor), [tid, .u32(32)])
      b.store(
        .global, b.element(out, tid, stride: 4), b.load(.shared, b.word(tile, other), at: 14))
      if !waits { b.perform(.copy(.asyncWait(pending: 0)), at: 15) }
    }
  }

  private let words = (0..<64).map { UInt32($0 * 7) }

  @Test func `cp.async delivers after its wait and a barrier`() {
    for seed in UInt64(0)..<8 {
      let (report, output) = run(
        pipeline(waits: true, barrier: true), inputs: [words], outputWords: 64, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output, (0..<64).map { words[$0 ^ 32] }, "seed \(seed)")
    }
  }

  @Test func `a missing wait is found for every seed`() {
    for seed in UInt64(0)..<8 {
      let error = run(
        pipeline(waits: false, barrier: true), inputs: [words], outputWords: 64, seed: seed
      ).report.errors.first
      guard case .missingWait = error?.kind else {
        Issue.record("seed \(seed): \(String(describing: error))")
        continue
      }
    }
  }

  @Test func `a missing barrier after the wait is found for every seed`() {
    for seed in UInt64(0)..<8 {
      let report = run(
        pipeline(waits: true, barrier: false), inputs: [words], outputWords: 64, seed: seed
      ).report
      expect(!report.errors.isEmpty, "seed \(seed)")
    }
  }

  @Test func `bytes beyond the source size become zeros`() {
    let kernel = makeKernel { b in
      let (source, out) = (b.pointer("in"), b.pointer("out"))
      let tile = b.shared("tile", byteCount: 512)
      let lane = b.lane()
      let row = b.get(.arithmetic(.mad), [lane, .u32(16), tile])
      b.perform(
        .copy(.async(Op.AsyncCopy(byteCount: 16, hasSourceSize: true))), [row, source, .u32(4)])
      b.perform(.copy(.asyncCommit))
      b.perform(.copy(.asyncWait(pending: 0)))
      let last = b.get(.memory(.ld(Op.MemoryAccess(.shared, .b32, offset: 4))), [row])
      let sum = b.get(.arithmetic(.add), [last, b.load(.shared, row)])
      b.store(.global, b.element(out, lane, stride: 4), sum)
    }
    let (report, output) = run(kernel, inputs: [[9, 9, 9, 9]], outputWords: 32)
    #expect(report.errors == [])
    #expect(output == Array(repeating: 9, count: 32))
  }

  @Test func `mbarriers hand stages from a producer to a consumer`() {
    for seed in UInt64(0)..<16 {
      let (report, output) = run(ring(), outputWords: 256, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output, (0..<256).map { UInt32($0 * 3) }, "seed \(seed)")
    }
  }

  @Test func `a ring without the wait for a full stage is reported`() {
    for seed in UInt64(0)..<8 {
      let report = run(ring(waitsForFull: false), outputWords: 256, seed: seed).report
      expect(!report.errors.isEmpty, "seed \(seed)")
    }
  }

  @Test func `a ring without the wait for an empty stage is reported`() {
    for seed in UInt64(0)..<8 {
      let report = run(ring(waitsForEmpty: false), outputWords: 256, seed: seed).report
      expect(!report.errors.isEmpty, "seed \(seed)")
    }
  }

  /// A producer warp fills one stage of 32 words eight times, a consumer warp stores them.
  private func ring(waitsForFull: Bool = true, waitsForEmpty: Bool = true) -> KernelIR {
    makeKernel(threads: 64) { b in
      let out = b.pointer("out")
      let stage = b.shared("stage", byteCount: 128)
      let bars = b.addShared(
        name: "bars", byteCount: 16, contents: .mbarriers(arrivals: 32))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let all = b.blockBarrier(threads: 64)
      let (tid, lane) = (b.thread(), b.lane())
      b.when(b.compare(.eq, tid, .u32(0))) { b in
        b.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(32)])
        b.perform(.synchronisation(.mbarrierInit(offset: 8)), [bar, .u32(32)])
      }
      b.perform(.synchronisation(.barrierSync(all)))
      let i = b.variable(.u32, initial: .u32(0), at: line(1))
      let counter = Operand.value(i)
      let index = { (b: inout IRBuilder) in
        b.get(.arithmetic(.mad), [counter, .u32(32), lane])
      }
      func round(_ b: inout IRBuilder, _ body: (inout IRBuilder, Operand) -> Void) {
        b.loop { b in
          b.perform(.control(.breakIf), [b.compare(.ge, counter, .u32(8))])
          body(&b, b.get(.bits(.and), [counter, .u32(1)]))
          b.assign(i, b.get(.arithmetic(.add), [counter, .u32(1)]), at: line(1))
        }
      }
      let producer = b.region { b in
        round(&b) { b, parity in
          if waitsForEmpty {
            b.perform(
              .synchronisation(.mbarrierWait(Op.MBarrierWait(offset: 8))),
              [bar, b.get(.bits(.xor), [parity, .u32(1)])], at: 40)
          }
          let x = b.get(.arithmetic(.mul), [index(&b), .u32(3)])
          b.store(.shared, b.word(stage, lane), x, at: 41)
          b.perform(.synchronisation(.mbarrierArrive(Op.MBarrierArrive())), [bar], at: 42)
        }
      }
      let consumer = b.region { b in
        round(&b) { b, parity in
          if waitsForFull {
            b.perform(
              .synchronisation(.mbarrierWait(Op.MBarrierWait())), [bar, parity], at: 50)
          }
          let x = b.load(.shared, b.word(stage, lane), at: 51)
          b.store(.global, b.element(out, index(&b), stride: 4), x)
          b.perform(
            .synchronisation(.mbarrierArrive(Op.MBarrierArrive(offset: 8))), [bar], at: 53)
        }
      }
      b.emit(
        .control(.roles([Role(name: "p", warps: 0..<1), Role(name: "c", warps: 1..<2)])),
        [b.get(.bits(.shr), [tid, .u32(5)])], regions: [producer, consumer], at: line(9))
    }
  }
}
