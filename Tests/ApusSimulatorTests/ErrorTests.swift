import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// One malformed kernel per kind of error.
@Suite struct ErrorTests {
  private func first(_ kernel: KernelIR, words: Int? = nil, seed: UInt64 = 1) -> SimulationError? {
    run(kernel, outputWords: words, seed: seed, instructionLimit: 20_000).report.errors.first
  }

  @Test func `out of bounds names lanes, op and line`() {
    let kernel = makeKernel { b in
      let out = b.pointer("out")
      b.store(.global, b.element(out, b.lane(), stride: 4), .u32(1), at: 33)
    }
    let error = first(kernel, words: 31)
    guard case .outOfBounds(.global, _, 4) = error?.kind else {
      Issue.record("found \(String(describing: error))")
      return
    }
    #expect(error?.lanes == 0x8000_0000 && error?.location.line == 33 && error?.warp == 0)
    #expect(error?.description.contains("K.swift:33") == true)
  }

  @Test func `a shared address without its base is out of bounds`() {
    let kernel = makeKernel { b in
      _ = b.shared("tile", byteCount: 64)
      b.store(.shared, .u32(0), .u32(1), at: 3)
    }
    #expect(first(kernel)?.kind == .outOfBounds(.shared, address: 0, byteCount: 4))
  }

  @Test func `misaligned`() {
    let kernel = makeKernel { b in
      let tile = b.shared("tile", byteCount: 64)
      b.store(.shared, b.get(.arithmetic(.add), [tile, .u32(2)]), .u32(1), at: 3)
    }
    #expect(first(kernel)?.kind == .misaligned(.shared, address: 1026, alignment: 4))
  }

  @Test func `read-only buffers keep their bytes`() {
    let kernel = makeKernel { b in b.store(.global, b.pointer("in"), .u32(1), at: 3) }
    let error = run(kernel, inputs: [[5]]).report.errors.first
    guard case .readOnly(_, "in0") = error?.kind else {
      Issue.record("found \(String(describing: error))")
      return
    }
  }

  @Test func `uninitialised memory and registers`() {
    let shared = makeKernel { b in
      let tile = b.shared("tile", byteCount: 64)
      _ = b.load(.shared, tile, at: 4)
    }
    #expect(first(shared)?.kind == .uninitialisedRead(.shared, address: 1024))
    let register = makeKernel { b in
      let x = b.variable(.u32, name: "x", at: line(1))
      _ = b.get(.arithmetic(.add), [.value(x), .u32(1)], .u32, at: 5)
    }
    #expect(first(register)?.kind == .undefinedRegister("%x"))
    let global = makeKernel { b in _ = b.load(.global, b.pointer("out"), at: 4) }
    guard case .uninitialisedRead(.global, _) = first(global, words: 1)?.kind else {
      Issue.record("an unwritten global read passed")
      return
    }
  }

  @Test func `a missing barrier is a race or an early read for every seed`() {
    let kernel = reversal(withBarrier: false)
    var races = 0
    for seed in UInt64(0)..<20 {
      switch first(kernel, words: 128, seed: seed)?.kind {
      case .race(_, let warp, let location):
        races += 1
        expect(warp != nil && location.line == 10, "seed \(seed)")
      case .uninitialisedRead: break
      case let other: Issue.record("seed \(seed): \(String(describing: other))")
      }
    }
    #expect(races > 0)
  }

  @Test func `overwriting what another warp may still read is a race`() {
    let kernel = makeKernel(threads: 64) { b in
      let cell = b.shared("cell", byteCount: 4)
      let all = b.blockBarrier(threads: 64)
      let isFirst = b.compare(.eq, b.thread(), .u32(0))
      b.when(isFirst) { $0.store(.shared, cell, .u32(1), at: 5) }
      b.perform(.synchronisation(.barrierSync(all)))
      _ = b.load(.shared, cell, at: 7)
      b.when(isFirst) { $0.store(.shared, cell, .u32(2), at: 8) }
    }
    for seed in UInt64(0)..<10 {
      guard case .race = first(kernel, seed: seed)?.kind else {
        Issue.record("seed \(seed)")
        continue
      }
    }
  }

  @Test func `a barrier in divergent lanes`() {
    let kernel = makeKernel { b in
      let all = b.blockBarrier(threads: 32)
      b.when(b.compare(.lt, b.lane(), .u32(16))) {
        $0.perform(.synchronisation(.barrierSync(all)), at: 6)
      }
    }
    let error = first(kernel)
    #expect(error?.kind == .divergent(members: .max) && error?.lanes == 0xFFFF)
  }

  @Test func `a shuffle of absent lanes and a uniform branch that is not`() {
    let shuffle = makeKernel { b in
      b.when(b.compare(.lt, b.lane(), .u32(16))) { b in
        _ = b.get(
          .warp(.shfl(.idx, width: 32, members: Op.allLanes)), [.u32(1), .u32(0)], .u32, at: 2)
      }
    }
    #expect(first(shuffle)?.kind == .divergent(members: .max))
    let branch = makeKernel { b in
      let condition = b.compare(.lt, b.lane(), .u32(16))
      b.emit(.control(.if(.uniform)), [condition], regions: [Region()], at: line(2))
    }
    #expect(first(branch)?.kind == .notUniform)
  }

  @Test func `a deadlock names each waiting warp and its line`() {
    let kernel = makeKernel(threads: 64) { b in
      let all = b.addBarrier(name: "all", firstID: 0, threads: 64)
      let extra = b.addBarrier(name: "extra", firstID: 1, threads: 64)
      let isFirst = b.compare(.lt, b.thread(), .u32(32))
      b.when(isFirst) { $0.perform(.synchronisation(.barrierSync(extra)), at: 21) }
      b.perform(.synchronisation(.barrierSync(all)), at: 22)
    }
    guard case .deadlock(let warps) = first(kernel)?.kind else {
      Issue.record("no deadlock")
      return
    }
    #expect(warps.map(\.warp).sorted() == [0, 1])
    #expect(warps.sorted { $0.warp < $1.warp }.map(\.location.line) == [21, 22])
  }

  @Test func `an endless loop meets the instruction limit, a trap ends the run`() {
    let endless = makeKernel { b in
      b.loop { b in b.perform(.control(.breakIf), [b.compare(.gt, b.lane(), .u32(40))]) }
    }
    #expect(first(endless)?.kind == .instructionLimit(20_000))
    #expect(first(makeKernel { $0.perform(.control(.trap)) })?.kind == .trap)
  }

  @Test func `a malformed kernel is refused in the verifier's words`() {
    let kernel = makeKernel { $0.perform(.arithmetic(.add), [.u32(1)], at: 12) }
    let error = first(kernel)
    guard case .invalidLaunch(let text) = error?.kind else {
      Issue.record("found \(String(describing: error))")
      return
    }
    #expect(text.contains("[types]") && error?.location.line == 12)
  }

  @Test func `a launch that does not fit`() {
    var memory = GlobalMemory()
    let kernel = makeKernel { _ = $0.pointer("x") }
    let error = Simulator(kernel).run(grid: GridSize(1), memory: &memory).errors.first
    #expect(
      error?.kind == .invalidLaunch("arguments must match the 1 parameters; found 0"))
  }
}
