import ApusDSL
import ApusIR

/// y = xᵀ for matrices whose sizes are multiples of 32, tile by tile through shared memory.
///
/// Reads and writes are whole rows of 32 elements. The padding puts a tile's column into 32
/// different banks.
struct TransposingCopy: Kernel {
  let symbol = "transposing_copy_f32"
  let launch = LaunchBounds(threads: 256)

  func body(_ block: Block) {
    let x = block.pointer("x", to: F32.self)
    let y = block.pointer("y", to: F32.self)
    let rows = block.parameter("rows", U32.self)
    let columns = block.parameter("columns", U32.self)
    let tile = block.tile("tile", F32.self, rows: 32, columns: 32, padding: 1)
    let lane = block.laneIndex
    let warp = block.threadIndex >> 5
    let warps = launch.warpCount
    let top = block.blockIndex(.y) * 32
    let left = block.blockIndex(.x) * 32

    block.phase("read rows of x")
    for step in 0..<32 / warps {
      let row = warp + step * warps
      block.store(block.load(x[(top + row) * columns + left + lane]), to: tile[row, lane])
    }
    block.syncThreads()

    block.phase("write rows of y")
    for step in 0..<32 / warps {
      let row = warp + step * warps
      block.store(block.load(tile[lane, row]), to: y[(left + row) * rows + top + lane])
    }
  }
}
