import ApusDSL
import ApusIR

/// C = A · Bᵀ for bf16 A [rows × k] and B [columns × k], C in f32, one warp per 16 × 8 · `tiles`.
///
/// A and B panels of 64 k travel through swizzled shared tiles by cp.async; the warp multiplies
/// with mma.sync.
struct WarpProduct: Kernel {
  let columns: Int
  let symbol = "sm80_warp_product_bf16"
  let launch = LaunchBounds(threads: 32)

  func body(_ block: Block) {
    let a = block.pointer("a", to: BF16.self)
    let b = block.pointer("b", to: BF16.self)
    let c = block.pointer("c", to: F32.self)
    let k = block.parameter("k", U32.self)
    let panel = 64
    let aTile = block.tile("a", BF16.self, rows: 16, columns: panel, swizzle: .bytes128)
    let bTile = block.tile("b", BF16.self, rows: columns, columns: panel, swizzle: .bytes128)
    let d = block.registerTile("d", rows: 16, columns: columns)
    let zero = block.constant(0, as: U32.self)

    block.loop(from: zero, to: k, step: panel, name: "k") { start in
      block.phase("copy panels")
      copy(a, k, start, to: aTile, block)
      copy(b, k, start, to: bTile, block)
      block.commitAsync()
      block.waitAsync()
      block.syncThreads()

      block.phase("D += A Bᵀ")
      for step in 0..<panel / 16 {
        let inner = block.constant(step * 16, as: U32.self)
        let left = block.fragmentA(aTile, row: zero, k: inner, as: BF16x2.self)
        for column in stride(from: 0, to: columns, by: 8) {
          let right = block.fragmentB(
            bTile, column: block.constant(column, as: U32.self), k: inner, as: BF16x2.self)
          block.mma(into: d, column: column, a: left, b: right)
        }
      }
      block.syncThreads()
    }

    block.phase("store C")
    for laneRow in 0..<d.laneRows {
      let row = block.laneRow + d.rowOffset(laneRow)
      for element in d.row(laneRow) {
        let column = block.laneColumn + element.column
        block.store(element.variable.value, to: c[row * columns + column])
      }
    }
  }

  /// Copies a panel from column `start` on: a lane moves 8 elements, 8 lanes a row.
  private func copy(
    _ source: GlobalPointer<BF16>, _ k: Value<U32>, _ start: Value<U32>,
    to tile: SharedTile<BF16>, _ block: Block
  ) {
    let column = (block.laneIndex & 7) << 3
    for first in stride(from: 0, to: tile.rows, by: 4) {
      let row = (block.laneIndex >> 3) + first
      block.copyAsync(from: source[row * k + start + column], to: tile[row, column])
    }
  }
}
