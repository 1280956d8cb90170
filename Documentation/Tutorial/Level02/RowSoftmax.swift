public import ApusDSL
public import ApusIR

/// Level 2: y[r, c] = exp(x[r, c] − max x[r, ·]) ÷ Σ exp(…), one warp per row.
///
/// The row stays in registers: each lane holds `columns` ÷ 32 elements, 32 apart.
public struct RowSoftmax: Kernel {
  /// Elements of a row, a multiple of 32.
  public let columns: Int
  /// Warps of a block.
  public let warps: Int

  /// The entry's name in PTX.
  public var symbol: String { "level02_row_softmax_c\(columns)" }
  /// Threads of a block.
  public var launch: LaunchBounds { LaunchBounds(threads: warps * warpSize) }

  /// A kernel for rows of a length.
  public init(columns: Int, warps: Int = 4) {
    self.columns = columns
    self.warps = warps
  }

  /// Parameters x, y: pointers to f32 [rows, columns]; rows: u32.
  public func body(_ block: Block) {
    block.require(
      columns % warpSize == 0, "RowSoftmax: columns must be a multiple of 32; found \(columns).")
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let rows = block.parameter("rows", U32.self)
    let row = block.let(block.blockIndex() * warps + block.warpIndex)

    block.when(row < rows, .uniform) {
      let start = row * columns + block.laneIndex
      let values = (0..<columns / warpSize).map { block.load(x[start][$0 * warpSize]) }

      // m = max x, times log₂e: ex2 is the exponential that the hardware has.
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
