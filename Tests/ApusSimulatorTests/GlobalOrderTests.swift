import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

/// Order between blocks and proxies in global memory.
@Suite struct GlobalOrderTests {
  private func kinds(
    _ kernel: KernelIR, words: Int, blocks: Int, seeds: Range<UInt64> = 0..<16
  ) -> [SimulationError.Kind?] {
    seeds.map {
      run(kernel, inputs: [], outputWords: words, blocks: blocks, seed: $0).report.errors.first?
        .kind
    }
  }

  private func isRace(_ kind: SimulationError.Kind?) -> Bool {
    if case .race = kind { true } else { false }
  }

  /// Block 0 writes a word and raises a flag; block 1 waits for the flag and copies the word.
  private func handOver(_ store: Op.Ordering, _ load: Op.Ordering) -> KernelIR {
    makeKernel { b in
      let out = b.pointer("out")
      let block = b.get(.special(.blockIndex(.x)))
      let flag = b.element(out, .u32(2), stride: 4)
      b.when(b.compare(.eq, b.lane(), .u32(0))) { b in
        b.when(
          b.compare(.eq, block, .u32(0)),
          { b in
            b.store(.global, out, .u32(7), at: 3)
            b.perform(
              .memory(.st(Op.MemoryAccess(.global, .b32, ordering: store))), [flag, .u32(1)])
          },
          otherwise: { b in
            b.perform(
              .memory(.red(Op.AtomicAccess(.or, .global))), [flag, .u32(0)])
            b.loop { b in
              let seen = b.get(
                .memory(.ld(Op.MemoryAccess(.global, .b32, ordering: load))), [flag])
              b.perform(.control(.breakIf), [b.compare(.eq, seen, .u32(1))])
            }
            b.store(.global, b.element(out, .u32(1), stride: 4), b.load(.global, out, at: 9))
          })
      }
    }
  }

  private func launch(_ kernel: KernelIR, seed: UInt64) -> (SimulationReport, [UInt32]) {
    var memory = GlobalMemory()
    let out = memory.bind("out", elements: [UInt32](repeating: 0, count: 4), isWritable: true)
    let report = Simulator(kernel, options: SimulationOptions(seed: seed)).run(
      grid: GridSize(2), arguments: [.pointer(out)], memory: &memory)
    return (report, memory.elements(at: out, as: UInt32.self))
  }

  @Test func `a released flag hands a word to another block`() {
    for seed in UInt64(0)..<16 {
      let (report, output) = launch(handOver(.release(.gpu), .acquire(.gpu)), seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output[1], 7, "seed \(seed)")
    }
  }

  @Test func `a relaxed flag on either side is a race`() {
    for kernel in [
      handOver(.relaxed(.gpu), .acquire(.gpu)), handOver(.release(.gpu), .relaxed(.gpu)),
    ] {
      for seed in UInt64(0)..<16 {
        expect(isRace(launch(kernel, seed: seed).0.errors.first?.kind), "seed \(seed)")
      }
    }
  }

  /// Each block writes a partial sum; the one that counts last adds them up.
  private func lastBlock(fences: Bool) -> KernelIR {
    makeKernel { b in
      let (out, partial, counter) = (b.pointer("out"), b.pointer("partial"), b.pointer("counter"))
      let block = b.get(.special(.blockIndex(.x)))
      let fence = Op.synchronisation(.fence(.acquireRelease(.gpu)))
      b.when(b.compare(.eq, b.lane(), .u32(0))) { b in
        b.store(.global, b.element(partial, block, stride: 4), block, at: 3)
        if fences { b.perform(fence) }
        let before = b.get(.memory(.atom(Op.AtomicAccess(.add, .global))), [counter, .u32(1)])
        b.when(b.compare(.eq, before, .u32(3))) { b in
          if fences { b.perform(fence) }
          var sum = Operand.u32(0)
          for other in UInt32(0)..<4 {
            let x = b.load(.global, b.element(partial, .u32(other), stride: 4), at: 8)
            sum = b.get(.arithmetic(.add), [sum, x])
          }
          b.store(.global, out, sum)
        }
      }
    }
  }

  @Test func `the last block sees what the others fenced`() {
    for fences in [true, false] {
      for seed in UInt64(0)..<8 {
        var memory = GlobalMemory()
        let out = memory.bindOutput("out", byteCount: 4)
        let partial = memory.bindOutput("partial", byteCount: 16)
        let counter = memory.bind("counter", elements: [UInt32(0)], isWritable: true)
        let report = Simulator(lastBlock(fences: fences), options: SimulationOptions(seed: seed))
          .run(
            grid: GridSize(4), arguments: [.pointer(out), .pointer(partial), .pointer(counter)],
            memory: &memory)
        if fences {
          expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
          expectEqual(memory.elements(at: out, as: UInt32.self), [6], "seed \(seed)")
        } else {
          expect(isRace(report.errors.first?.kind), "seed \(seed)")
        }
      }
    }
  }

  @Test func `blocks that write different values to one word race, equal values do not`() {
    for (value, isFine) in [(Op.SpecialRegister.gridSize(.x), true), (.blockIndex(.x), false)] {
      let kernel = makeKernel { b in
        let out = b.pointer("out")
        b.store(.global, out, b.get(.special(value)), at: 3)
      }
      for kind in kinds(kernel, words: 1, blocks: 2) {
        expectEqual(kind == nil, isFine, "\(value)")
      }
    }
  }

  /// 32 lanes write 128 bytes of global memory, lane 0 copies them back to shared memory.
  private func reload(fences: Bool) -> KernelIR {
    makeKernel { b in
      let out = b.pointer("out")
      let tile = b.shared("tile", byteCount: 128, alignment: 128)
      let bars = b.addShared(name: "full", byteCount: 8, contents: .mbarriers(arrivals: 1))
      let bar = b.get(.memory(.sharedAddress(bars, offset: 0)))
      let lane = b.lane()
      b.store(.global, b.element(out, lane, stride: 4), lane, at: 3)
      if fences { b.perform(.synchronisation(.fence(.proxyAsync(.global)))) }
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.when(b.compare(.eq, lane, .u32(0))) { b in
        b.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)])
        b.perform(.synchronisation(.fence(.mbarrierInit)))
        b.perform(.synchronisation(.mbarrierArriveExpect(Op.MBarrierArrive())), [bar, .u32(128)])
        b.perform(.copy(.bulkLoad(Op.BulkAccess())), [tile, out, .u32(128), bar], at: 7)
      }
      b.perform(.warp(.syncWarp(members: Op.allLanes)))
      b.perform(.synchronisation(.mbarrierWait(Op.MBarrierWait())), [bar, .u32(0)])
      _ = b.load(.shared, b.word(tile, lane))
    }
  }

  @Test func `the async proxy reads global memory behind a fence`() {
    for kind in kinds(reload(fences: true), words: 32, blocks: 1) { #expect(kind == nil) }
    for kind in kinds(reload(fences: false), words: 32, blocks: 1) {
      guard case .missingProxyFence = kind else {
        Issue.record("found \(String(describing: kind))")
        continue
      }
    }
  }

  @Test func `what a bulk store wrote is read after the full wait`() {
    for isReadOnly in [false, true] {
      let kernel = makeKernel { b in
        let out = b.pointer("out")
        let tile = b.shared("tile", byteCount: 128, alignment: 128)
        let lane = b.lane()
        b.store(.shared, b.word(tile, lane), lane)
        b.perform(.synchronisation(.fence(.proxyAsync(.shared))))
        b.perform(.warp(.syncWarp(members: Op.allLanes)))
        b.when(b.compare(.eq, lane, .u32(0))) { b in
          b.perform(.copy(.bulkStore(Op.BulkAccess())), [out, tile, .u32(128)])
          b.perform(.copy(.bulkCommit))
          b.perform(.copy(.bulkWait(pending: 0, isReadOnly: isReadOnly)))
          _ = b.load(.global, out, at: 8)
        }
      }
      let kind = run(kernel, outputWords: 32).report.errors.first?.kind
      if isReadOnly {
        guard case .missingWait = kind else {
          Issue.record("found \(String(describing: kind))")
          return
        }
      } else {
        #expect(kind == nil)
      }
    }
  }

  /// One thread waits for the preceding launch, the block meets, all read and write.
  @Test func `memory of an overlapping predecessor is touched after the wait`() {
    for (waits, meets) in [(true, true), (true, false), (false, true)] {
      let kernel = makeKernel(threads: 64) { b in
        let (x, y) = (b.pointer("x"), b.pointer("y"))
        let all = b.blockBarrier(threads: 64)
        let tid = b.thread()
        if waits {
          b.when(b.compare(.eq, tid, .u32(0))) { $0.perform(.synchronisation(.gridDependencyWait)) }
        }
        if meets { b.perform(.synchronisation(.barrierSync(all))) }
        let value = b.load(.global, b.element(x, tid, stride: 4), at: 4)
        b.store(.global, b.element(y, tid, stride: 4), value, at: 5)
      }
      for overlaps in [true, false] {
        var memory = GlobalMemory()
        let x = memory.bind("x", elements: [UInt32](repeating: 3, count: 64))
        let y = memory.bindOutput("y", byteCount: 256)
        let error = Simulator(
          kernel, options: SimulationOptions(seed: 1, overlapsPredecessor: overlaps)
        ).run(grid: GridSize(1), arguments: [.pointer(x), .pointer(y)], memory: &memory)
          .errors.first
        expectEqual(error == nil, !overlaps || (waits && meets), "\(waits) \(meets) \(overlaps)")
        if case .missingWait = error?.kind { continue }
        expect(error == nil, "\(String(describing: error))")
      }
    }
  }

  @Test func `a non-coherent load of what the launch wrote`() {
    let kernel = makeKernel { b in
      let out = b.pointer("out")
      b.store(.global, b.element(out, b.lane(), stride: 4), .u32(1))
      _ = b.get(
        .memory(.ld(Op.MemoryAccess(.global, .b32, isNonCoherent: true))),
        [b.element(out, b.lane(), stride: 4)], .u32, at: 4)
    }
    guard case .invalidOperand(let text) = run(kernel, outputWords: 32).report.errors.first?.kind
    else {
      Issue.record("a non-coherent read passed")
      return
    }
    #expect(text.contains("non-coherent"))
  }
}
