import ApusDSL
import ApusIR
import ApusKernels
import Testing

@Suite struct KernelResourcesTests {
  /// A kernel whose body is a closure.
  private struct Sketch: Kernel {
    var symbol = "sketch"
    var launch = LaunchBounds(threads: 128)
    var target = Target.sm80
    let emit: @Sendable (Block) -> Void

    func body(_ block: Block) { emit(block) }
  }

  private func peak(_ emit: @escaping @Sendable (Block) -> Void) throws -> Int {
    try Sketch(emit: emit).build().peakLiveRegisters
  }

  @Test func `values count while they live, pairs twice, parameters never`() throws {
    // The address pair of x and the loaded value; then the sum, and the address of y.
    let one = try peak { block in
      let x = block.pointer("x", to: F32.self)
      let y = block.pointer("y", to: F32.self)
      let i = block.threadIndex
      block.store(block.load(x[i]) + 1, to: y[i])
    }
    let four = try peak { block in
      let x = block.pointer("x", to: F32.self)
      let y = block.pointer("y", to: F32.self)
      let i = block.threadIndex
      let values = (0..<4).map { block.load(x[i + $0 * 128]) }
      block.store(values.dropFirst().reduce(values[0], +), to: y[i])
    }
    #expect(one < four)
    #expect((3...5).contains(one), "index, pair, value: \(one)")
  }

  @Test func `a value of outside lives through the loop that uses it`() throws {
    func kernel(usesOutside: Bool) throws -> Int {
      try peak { block in
        let y = block.pointer("y", to: F32.self)
        let count = block.parameter("count", U32.self)
        let scale = block.load(y[block.threadIndex])
        if !usesOutside { block.store(scale + scale, to: y[block.threadIndex]) }
        let sum = block.variable(0, as: F32.self, "sum")
        block.loop(count) { round in
          let term = round.converted(to: F32.self)
          block.assign(sum, sum.value + (usesOutside ? term * scale : term))
        }
        block.store(sum.value, to: y[block.threadIndex])
      }
    }
    #expect(try kernel(usesOutside: true) == kernel(usesOutside: false) + 1)
  }

  @Test func `products are predicted by their fragments`() throws {
    let kernel = try Sketch(
      launch: LaunchBounds(threads: 128, minBlocksPerMultiprocessor: 2), target: .sm90a
    ) { block in
      let c = block.pointer("c", to: F32.self)
      let d = block.registerTile("d", rows: 16, columns: 64)
      let tile = block.tiles("a", BF16.self, count: 2, rows: 64, columns: 64, swizzle: .bytes128)
      let zero = block.constant(0, as: U32.self)
      block.wgmmaFence()
      block.wgmma(
        into: d, a: WarpgroupOperand<BF16x2>.shared(tile[zero].descriptor(column: 0, .k)),
        b: tile[zero].descriptor(column: 0, .k), element: .bf16)
      block.wgmmaCommit()
      block.wgmmaWait()
      for element in d.row(0) { block.store(element.variable.value, to: c[block.threadIndex]) }
    }.build()
    let resources = KernelResources.predicted(for: kernel, target: .sm90a)
    #expect(resources.basis == .fragments)
    // 64 × 64 over 128 threads, and the reserve.
    #expect(resources.registers == 32 + RegisterEstimate.reserve)
    // Two tiles of 64 rows of 128 bytes.
    #expect(resources.sharedBytes == 2 * 64 * 128)
    #expect(
      resources.occupancy
        == Occupancy(target: .sm90a, threads: 128, registers: 57, sharedBytes: 16384))
  }

  @Test func `roles with budgets enter with what the launch grants`() throws {
    let kernel = try Sketch(launch: LaunchBounds(threads: 256), target: .sm90a) { block in
      let x = block.pointer("x", to: F32.self)
      block.roles { roles in
        roles.role("producer", warps: 0..<4, registers: 24) {
          block.store(block.constant(0, as: F32.self), to: x[block.threadIndex])
        }
        roles.role("consumer", warps: 4..<8, registers: 240) {
          block.store(block.constant(1, as: F32.self), to: x[block.threadIndex])
        }
      }
    }.build()
    let hopper = KernelResources.predicted(for: kernel, target: .sm90a)
    #expect(hopper.basis == .budgets)
    #expect(hopper.registers == 255)
    // Older targets ignore budgets.
    #expect(KernelResources.predicted(for: kernel, target: .sm80).basis == .liveValues)
  }
}
