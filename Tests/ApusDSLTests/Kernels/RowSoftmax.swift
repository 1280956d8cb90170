import ApusDSL
import ApusIR

/// y[r, c] = exp(x[r, c] − max_c x[r, c]) ÷ Σ_c exp(…), one warp per row.
///
/// The row stays in registers: each lane holds `columns` ÷ 32 elements, 32 apart.
struct RowSoftmax: Kernel {
  let columns: Int
  let warps: Int

  var symbol: String { "row_softmax_f32_c\(columns)_w\(warps)" }
  var launch: LaunchBounds { LaunchBounds(threads: warps * warpSize) }

  func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let rows = block.parameter("rows", U32.self)
    let row = block.let(block.blockIndex() * warps + block.warpIndex)

    block.when(row < rows, .uniform) {
      // Load the row.
      let start = row * columns + block.laneIndex
      let values = (0..<columns / warpSize).map { block.load(x[start][$0 * warpSize]) }

      // m = max x, in units of log2 for ex2.
      let log2e: Float = 1.442_695_04
      let m = block.warpMax(values.dropFirst().reduce(values[0]) { max($0, $1) }) * log2e
      let p = values.map { ex2($0 * log2e - m) }

      // l = Σ p; y = p ÷ l.
      let l = block.warpSum(p.dropFirst().reduce(p[0]) { $0 + $1 })
      let scale = rcp(l)
      for (index, value) in p.enumerated() {
        block.store(value * scale, to: y[start][index * warpSize])
      }
    }
  }
}
