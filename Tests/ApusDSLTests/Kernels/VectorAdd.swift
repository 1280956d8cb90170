import ApusDSL
import ApusIR

/// z = x + y for `count` elements, four per thread.
///
/// Each thread owns four neighbours; the last thread's share may be partial and goes one by one.
struct VectorAdd: Kernel {
  let threads: Int

  var symbol: String { "vector_add_t\(threads)" }
  var launch: LaunchBounds { LaunchBounds(threads: threads) }

  func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let z = block.pointer("z", to: F32.self)
    let count = block.parameter("count", U32.self)
    let first = block.let(block.globalThreadIndex << 2)

    block.when(first + 4 <= count) {
      let a = block.load(x[first], count: 4, .streamed)
      let b = block.load(y[first], count: 4, .streamed)
      block.store(zip(a, b).map { $0 + $1 }, to: z[first])
    } otherwise: {
      block.loop(from: first, to: count) { i in
        block.store(block.load(x[i]) + block.load(y[i]), to: z[i])
      }
    }
  }
}
