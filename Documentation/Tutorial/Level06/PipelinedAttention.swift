public import ApusDSL
public import ApusIR

/// Level 6: level 5 with four warps per block, 16 queries each, and two stages of K and V: while a
/// tile is worked on, cp.async brings the next one.
public struct PipelinedAttention: Kernel {
  /// Keys of a tile.
  public static let keysPerTile = 32
  /// The entry's name in PTX.
  public let symbol = "level06_pipelined_attention"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: 4 * warpSize)

  /// The kernel; it has no parameters of its own.
  public init() {}

  /// Parameters as in level 5; q and o have 64 rows per block.
  public func body(_ block: Block) {
    let q = block.pointer("q", to: BF16.self)
    let k = block.pointer("k", to: BF16.self)
    let v = block.pointer("v", to: BF16.self)
    let out = block.pointer("o", to: F32.self)
    let keys = block.parameter("keys", U32.self)
    let scale = block.parameter("scale", F32.self)
    let tileRows = Self.keysPerTile
    let qTile = block.tile("q", BF16.self, rows: 64, columns: 64, swizzle: .bytes128)
    let kTiles = block.tiles(
      "k", BF16.self, count: 2, rows: tileRows, columns: 64, swizzle: .bytes128)
    let vTiles = block.tiles(
      "v", BF16.self, count: 2, rows: tileRows, columns: 64, swizzle: .bytes128)
    let zero = block.constant(0, as: U32.self)
    let top = block.let(block.blockIndex() << 6)

    block.phase("Q and the first tile")
    block.copyRowsAsync(of: q, from: top, to: qTile)
    block.copyRowsAsync(of: k, from: zero, to: kTiles[0])
    block.copyRowsAsync(of: v, from: zero, to: vTiles[0])
    let loaded = block.commitAsync()
    let o = block.registerTile("o", rows: 16, columns: 64)
    let softmax = OnlineSoftmax(block, laneRows: o.laneRows, scale: scale)

    block.loop(from: zero, to: keys, step: tileRows, name: "key") { first in
      let stage = block.let(first >> 5 & 1)
      let next = first + tileRows
      block.phase("the next tile")
      block.when(next < keys, .uniform) {
        block.copyRowsAsync(of: k, from: next, to: kTiles[stage ^ 1])
        block.copyRowsAsync(of: v, from: next, to: vTiles[stage ^ 1])
      }
      block.commitAsync()
      block.wait(loaded)
      block.syncThreads()

      let qFragments = (0..<4).map { step in
        block.fragmentA(
          qTile, row: block.warpIndex << 4, k: block.constant(16 * step, as: U32.self),
          as: BF16x2.self)
      }
      block.attend(to: kTiles[stage], vTiles[stage], q: qFragments, o: o, softmax)
      block.syncThreads()
    }

    block.phase("O ÷ l")
    softmax.normalise(block, o)
    block.storeRows(o, to: out, top: top + (block.warpIndex << 4))
  }
}

extension Block {
  /// Copies rows of 64 elements from row `first` on to a tile, without waiting: 16 bytes a thread,
  /// `launch.threads` ÷ 8 rows at a time.
  func copyRowsAsync(
    of source: GlobalPointer<BF16>, from first: Value<U32>, to tile: SharedTile<BF16>,
    file: String = #fileID, line: Int = #line
  ) {
    let column = (threadIndex & 7) << 3
    for group in stride(from: 0, to: tile.rows, by: launch.threads / 8) {
      let row = (threadIndex >> 3) + group
      copyAsync(
        from: source[(first + row) * 64 + column], to: tile[row, column], file: file, line: line)
    }
  }
}
