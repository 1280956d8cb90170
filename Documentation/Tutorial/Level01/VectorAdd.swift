public import ApusDSL
public import ApusIR

/// Level 1: z = x + y for `count` elements, one per thread.
public struct VectorAdd: Kernel {
  /// The entry's name in PTX.
  public let symbol = "level01_vector_add"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: 128)

  /// The kernel; it has no parameters of its own.
  public init() {}

  /// Parameters x, y, z: pointers to f32; count: u32.
  public func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let z = block.pointer("z", to: F32.self)
    let count = block.parameter("count", U32.self)
    let i = block.let(block.globalThreadIndex)
    block.when(i < count) {
      block.store(block.load(x[i]) + block.load(y[i]), to: z[i])
    }
  }
}
