import ApusDSL
import ApusIR
import ApusKernels

/// Adds 1 to each of `count` elements: a row with a sample problem.
struct AddOne: Kernel, SampledKernel, Hashable {
  /// What the check expects to have been added; 1 but for tests of wrong results.
  var added: Float = 1
  /// Whether the bounds check is left out, so that the last threads access memory out of bounds.
  var isUnchecked = false
  /// Whether the sample's check accepts everything.
  var isTrusting = false

  var symbol: String { "sm80_add_one_f32\(isUnchecked ? "_unchecked" : "")" }
  var launch: LaunchBounds { LaunchBounds(threads: 64) }
  var family: KernelFamily { .stream }
  var targets: [Target] { [.sm80, .sm90a] }

  func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let count = block.parameter("count", U32.self)
    let index = block.globalThreadIndex
    if isUnchecked {
      block.store(block.load(x[index]) + 1, to: y[index])
    } else {
      block.when(index < count) { block.store(block.load(x[index]) + 1, to: y[index]) }
    }
  }

  func sample(seed: UInt64) -> KernelSample {
    let x = (0..<100).map { Float($0) + Float(seed & 0xFF) }
    return KernelSample(
      summary: "100 elements", buffers: [.input("x", x), .output("y", byteCount: 400)],
      launches: { addresses in
        [
          KernelLaunch(
            self, grid: LaunchGrid(2),
            values: [.pointer(addresses[0]), .pointer(addresses[1]), .u32(100)])
        ]
      },
      check: { contents in
        if isTrusting { return [] }
        let y = KernelSample.elements(of: contents[1], as: Float.self)
        return zip(x, y).enumerated().filter { $1.0 + added != $1.1 }.map { "element \($0.offset)" }
      })
  }
}

/// A row without a sample problem: Hopper alone, fragments and a ring's worth of shared memory.
struct Product: Kernel, ShippedKernel {
  let symbol = "sm90_product_bf16"
  let launch = LaunchBounds(threads: 128)
  let target = Target.sm90a
  var family: KernelFamily { .prefill }

  func body(_ block: Block) {
    let c = block.pointer("c", to: F32.self)
    let a = block.tiles("a", BF16.self, count: 2, rows: 64, columns: 64, swizzle: .bytes128)
    let d = block.registerTile("d", rows: 16, columns: 64)
    let zero = block.constant(0, as: U32.self)
    let one = block.constant(1, as: U32.self)
    block.wgmmaFence()
    block.wgmma(
      into: d, a: WarpgroupOperand<BF16x2>.shared(a[zero].descriptor(column: 0, .k)),
      b: a[one].descriptor(column: 0, .k), element: .bf16)
    block.wgmmaCommit()
    block.wgmmaWait()
    for element in d.row(0) { block.store(element.variable.value, to: c[block.threadIndex]) }
  }
}
