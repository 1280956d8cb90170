public import ApusDSL
public import ApusIR

/// Level 3: y = xᵀ for matrices whose sizes are multiples of 32, tile by tile through shared memory.
///
/// Reads and writes are whole rows of 32 elements. The padding puts the elements of a tile's column
/// into 32 different banks.
public struct TransposingCopy: Kernel {
  /// The entry's name in PTX.
  public let symbol = "level03_transposing_copy"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: 256)

  /// The kernel; it has no parameters of its own.
  public init() {}

  /// Parameters x: pointer to f32 [rows, columns]; y: pointer to f32 [columns, rows]; rows,
  /// columns: u32. The grid has a block per tile: columns ÷ 32 by rows ÷ 32.
  public func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let rows = block.parameter("rows", U32.self)
    let columns = block.parameter("columns", U32.self)
    let tile = block.tile("tile", F32.self, rows: 32, columns: 32, padding: 1)
    let lane = block.laneIndex
    let warp = block.threadIndex >> 5
    let top = block.blockIndex(.y) * 32
    let left = block.blockIndex(.x) * 32

    block.phase("rows of x")
    for step in 0..<32 / launch.warpCount {
      let row = warp + step * launch.warpCount
      block.store(block.load(x[(top + row) * columns + left + lane]), to: tile[row, lane])
    }
    block.syncThreads()

    block.phase("rows of y")
    for step in 0..<32 / launch.warpCount {
      let row = warp + step * launch.warpCount
      block.store(block.load(tile[lane, row]), to: y[(left + row) * rows + top + lane])
    }
  }
}
