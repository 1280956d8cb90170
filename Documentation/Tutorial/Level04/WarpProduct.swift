public import ApusDSL
public import ApusIR

/// Level 4: C = A · Bᵀ with mma.sync, one warp per 16 × `columns` of C.
///
/// A [16, k] and B [columns, k] are bf16, C is f32; k is a multiple of 64.
public struct WarpProduct: Kernel {
  /// Columns of C, a multiple of 8.
  public let columns: Int
  /// The entry's name in PTX.
  public let symbol = "level04_warp_product"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: warpSize)

  /// A kernel for a number of columns.
  public init(columns: Int) { self.columns = columns }

  /// Parameters a, b: pointers to bf16; c: pointer to f32; k: u32.
  public func body(_ block: Block) {
    let a = block.pointer("a", to: BF16.self)
    let b = block.pointer("b", to: BF16.self)
    let c = block.pointer("c", to: F32.self)
    let k = block.parameter("k", U32.self)
    let aTile = block.tile("a", BF16.self, rows: 16, columns: 64, swizzle: .bytes128)
    let bTile = block.tile("b", BF16.self, rows: columns, columns: 64, swizzle: .bytes128)
    let d = block.registerTile("d", rows: 16, columns: columns)
    let zero = block.constant(0, as: U32.self)

    block.loop(from: zero, to: k, step: 64, name: "k") { start in
      block.phase("panels of A and B")
      block.copyRows(of: a, from: start, stride: k, to: aTile)
      block.copyRows(of: b, from: start, stride: k, to: bTile)
      block.syncWarp()

      block.phase("D += A Bᵀ")
      for step in 0..<4 {
        let inner = block.constant(16 * step, as: U32.self)
        let left = block.fragmentA(aTile, row: zero, k: inner, as: BF16x2.self)
        for column in stride(from: 0, to: columns, by: 8) {
          let right = block.fragmentB(
            bTile, column: block.constant(column, as: U32.self), k: inner, as: BF16x2.self)
          block.mma(into: d, column: column, a: left, b: right)
        }
      }
      block.syncWarp()
    }

    block.phase("C")
    for laneRow in 0..<d.laneRows {
      let row = block.laneRow + d.rowOffset(laneRow)
      for element in d.row(laneRow) {
        let column = block.laneColumn + element.column
        block.store(element.variable.value, to: c[row * columns + column])
      }
    }
  }
}

extension Block {
  /// Copies 64 columns from `start` on of all rows of a matrix to a tile: 16 bytes a lane, four
  /// rows at a time. Rows are `stride` elements apart.
  func copyRows(
    of source: GlobalPointer<BF16>, from start: Value<U32>, stride: Value<U32>,
    to tile: SharedTile<BF16>, file: String = #fileID, line: Int = #line
  ) {
    let column = (laneIndex & 7) << 3
    for first in Swift.stride(from: 0, to: tile.rows, by: 4) {
      let row = (laneIndex >> 3) + first
      let chunk = source[row * stride + start + column].cast(to: U32.self)
      store(
        load(chunk, count: 4, file: file, line: line), to: tile[row, column].cast(to: U32.self),
        file: file, line: line)
    }
  }
}
