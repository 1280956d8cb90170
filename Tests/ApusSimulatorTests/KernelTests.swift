import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct KernelTests {
  private func add(_ x: Op.Arithmetic) -> Op { .arithmetic(x) }

  @Test func `vector addition over several blocks`() {
    let kernel = makeKernel(threads: 64) { b in
      let (x, y, out) = (b.pointer("x"), b.pointer("y"), b.pointer("out"))
      let block = b.get(.special(.blockIndex(.x)))
      let index = b.get(.arithmetic(.mad), [block, .u32(64), b.thread()])
      let left = b.load(.global, b.element(x, index, stride: 4))
      let right = b.load(.global, b.element(y, index, stride: 4))
      b.store(.global, b.element(out, index, stride: 4), b.get(.arithmetic(.add), [left, right]))
    }
    let x = (0..<320).map { UInt32($0) }
    let y = x.map { $0 * 1000 }
    let (report, output) = run(kernel, inputs: [x, y], outputWords: 320, blocks: 5)
    #expect(report.errors == [])
    #expect(output == zip(x, y).map { $0 + $1 })
  }

  @Test func `lanes leave a loop one by one and meet after it`() {
    // Collatz steps of lane + 1, then a vote that needs all lanes.
    let kernel = makeKernel { b in
      let out = b.pointer("out")
      let lane = b.lane()
      let start = b.get(.arithmetic(.add), [lane, .u32(1)])
      let n = Operand.value(b.variable(.u32, initial: start, at: line(1)))
      let steps = Operand.value(b.variable(.u32, initial: .u32(0), at: line(1)))
      b.loop { b in
        b.perform(.control(.breakIf), [b.compare(.eq, n, .u32(1))])
        let odd = b.compare(.eq, b.get(.bits(.and), [n, .u32(1)]), .u32(1))
        b.when(
          odd,
          { b in
            b.assign(
              n.valueID ?? ValueID(0), b.get(.arithmetic(.mad), [n, .u32(3), .u32(1)]), at: line(2))
          },
          otherwise: { b in
            b.assign(n.valueID ?? ValueID(0), b.get(.bits(.shr), [n, .u32(1)]), at: line(3))
          })
        b.assign(
          steps.valueID ?? ValueID(0), b.get(.arithmetic(.add), [steps, .u32(1)]), at: line(4))
      }
      let all = b.get(
        .warp(.vote(.ballot, members: Op.allLanes)), [b.compare(.eq, n, .u32(1))], .u32)
      b.store(.global, b.element(out, lane, stride: 4), steps)
      b.store(
        .global, b.element(out, b.get(.arithmetic(.add), [lane, .u32(32)]), stride: 4), all)
    }
    let (report, output) = run(kernel, outputWords: 64)
    #expect(report.errors == [])
    for lane in 0..<32 {
      var (n, steps) = (lane + 1, UInt32(0))
      while n != 1 { (n, steps) = (n % 2 == 1 ? 3 * n + 1 : n / 2, steps + 1) }
      expectEqual(output[lane], steps, "lane \(lane)")
      expectEqual(output[32 + lane], .max)
    }
  }

  @Test func `continue skips the rest of a round and exit ends a lane`() {
    let kernel = makeKernel { b in
      let out = b.pointer("out")
      let lane = b.lane()
      let i = Operand.value(b.variable(.u32, initial: .u32(0), at: line(1)))
      let sum = Operand.value(b.variable(.u32, initial: .u32(0), at: line(1)))
      b.store(.global, b.element(out, lane, stride: 4), .u32(77))
      b.when(b.compare(.eq, lane, .u32(5))) { $0.perform(.control(.exit)) }
      b.loop { b in
        b.perform(.control(.breakIf), [b.compare(.ge, i, .u32(10))])
        b.assign(i.valueID ?? ValueID(0), b.get(.arithmetic(.add), [i, .u32(1)]), at: line(1))
        b.perform(
          .control(.continueIf),
          [
            b.compare(
              .eq, b.get(.bits(.and), [b.get(.arithmetic(.add), [i, lane]), .u32(1)]), .u32(0))
          ])
        b.assign(sum.valueID ?? ValueID(0), b.get(.arithmetic(.add), [sum, i]), at: line(1))
      }
      b.store(.global, b.element(out, lane, stride: 4), sum)
    }
    let (report, output) = run(kernel, outputWords: 32)
    #expect(report.errors == [])
    #expect(output == (0..<32).map { $0 == 5 ? 77 : $0 % 2 == 0 ? 25 : 30 })
  }

  @Test func `a reversal through shared memory gives the same for every seed`() {
    let kernel = reversal(withBarrier: true)
    for seed in UInt64(0)..<20 {
      let (report, output) = run(kernel, outputWords: 128, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output, (0..<128).reversed().map { UInt32($0) }, "seed \(seed)")
    }
  }

  @Test func `equal seeds give equal reports`() {
    let kernel = reversal(withBarrier: false)
    for seed in UInt64(0)..<8 {
      let first = run(kernel, outputWords: 128, seed: seed)
      let second = run(kernel, outputWords: 128, seed: seed)
      expectEqual(first.report, second.report, "seed \(seed)")
      expectEqual(first.output, second.output, "seed \(seed)")
    }
  }

  @Test func `roles run their own code and meet at a named barrier`() {
    let kernel = makeKernel(threads: 128) { b in
      let out = b.pointer("out")
      let cell = b.shared("cell", byteCount: 16)
      let ready = b.addBarrier(name: "ready", firstID: 1, threads: 128)
      let warp = b.get(.bits(.shr), [b.thread(), .u32(5)])
      let producer = b.region { b in
        b.when(b.compare(.eq, b.lane(), .u32(0))) { $0.store(.shared, cell, .u32(42)) }
        b.perform(.synchronisation(.barrierArrive(ready)))
      }
      let consumer = b.region { b in
        b.perform(.synchronisation(.barrierSync(ready)))
        b.store(.global, b.element(out, b.thread(), stride: 4), b.load(.shared, cell))
      }
      b.emit(
        .control(.roles([Role(name: "p", warps: 0..<1), Role(name: "c", warps: 1..<4)])), [warp],
        regions: [producer, consumer], at: line(9))
    }
    for seed in UInt64(0)..<8 {
      let (report, output) = run(kernel, outputWords: 128, seed: seed)
      expect(report.errors.isEmpty, "seed \(seed): \(report.errors)")
      expectEqual(output[32...], Array(repeating: 42, count: 96)[...], "seed \(seed)")
    }
  }

  @Test func `atomics from all blocks lose no update`() {
    let kernel = makeKernel(threads: 64) { b in
      let total = b.pointer("total")
      b.perform(.memory(.red(Op.AtomicAccess(.add, .global))), [total, .u32(3)])
    }
    var memory = GlobalMemory()
    let address = memory.bind("total", elements: [UInt32(5)], isWritable: true)
    let report = Simulator(kernel).run(
      grid: GridSize(7), arguments: [.pointer(address)], memory: &memory)
    #expect(report.errors == [])
    #expect(memory.elements(at: address, as: UInt32.self) == [5 + 3 * 64 * 7])
  }

  @Test func `atomic functions`() {
    for (op, old, x, expected) in [
      (.add, 7, 5, 12), (.min, 7, 5, 5), (.max, 7, 5, 7), (.and, 6, 3, 2), (.or, 6, 3, 7),
      (.xor, 6, 3, 5), (.inc, 7, 7, 0), (.inc, 6, 7, 7), (.exchange, 1, 9, 9),
    ] as [(Op.AtomicOp, UInt32, UInt32, UInt32)] {
      let kernel = makeKernel { b in
        let out = b.pointer("out")
        b.when(b.compare(.eq, b.lane(), .u32(0))) { b in
          b.store(.global, out, .u32(old))
          let before = b.get(.memory(.atom(Op.AtomicAccess(op, .global))), [out, .u32(x)])
          b.store(.global, b.element(out, .u32(1), stride: 4), before)
        }
      }
      let (report, output) = run(kernel, outputWords: 2)
      expect(report.errors.isEmpty, "\(op): \(report.errors)")
      expectEqual(output, [expected, old], "\(op)")
    }
  }
}

/// out[i] = n − 1 − i through shared memory; a race without the barrier.
func reversal(withBarrier: Bool) -> KernelIR {
  makeKernel(threads: 128) { b in
    let out = b.pointer("out")
    let tile = b.shared("tile", byteCount: 512)
    let all = b.blockBarrier(threads: 128)
    let tid = b.thread()
    b.store(.shared, b.word(tile, tid), tid, at: 10)
    if withBarrier { b.perform(.synchronisation(.barrierSync(all)), at: 11) }
    let other = b.get(.arithmetic(.sub), [.u32(127), tid])
    b.store(.global, b.element(out, tid, stride: 4), b.load(.shared, b.word(tile, other), at: 12))
  }
}
