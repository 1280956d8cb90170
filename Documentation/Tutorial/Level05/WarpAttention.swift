public import ApusDSL
public import ApusIR

/// Level 5: O = softmax(s · Q Kᵀ) V for 16 queries of one head, by one warp.
///
/// Q [16, 64], K and V [keys, 64] are bf16, O is f32. K and V come in tiles of 32 rows; the scores
/// of a tile never leave the registers.
public struct WarpAttention: Kernel {
  /// Keys of a tile.
  public static let keysPerTile = 32
  /// The entry's name in PTX.
  public let symbol = "level05_warp_attention"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: warpSize)

  /// The kernel; it has no parameters of its own.
  public init() {}

  /// Parameters q, k, v: pointers to bf16; o: pointer to f32; keys: u32, a multiple of 32; scale:
  /// f32, of the scores, times log₂e.
  public func body(_ block: Block) {
    let q = block.pointer("q", to: BF16.self)
    let k = block.pointer("k", to: BF16.self)
    let v = block.pointer("v", to: BF16.self)
    let out = block.pointer("o", to: F32.self)
    let keys = block.parameter("keys", U32.self)
    let scale = block.parameter("scale", F32.self)
    let tileRows = Self.keysPerTile
    let qTile = block.tile("q", BF16.self, rows: 16, columns: 64, swizzle: .bytes128)
    let kTile = block.tile("k", BF16.self, rows: tileRows, columns: 64, swizzle: .bytes128)
    let vTile = block.tile("v", BF16.self, rows: tileRows, columns: 64, swizzle: .bytes128)
    let zero = block.constant(0, as: U32.self)
    let width = block.constant(64, as: U32.self)

    block.phase("Q stays in registers")
    block.copyRows(of: q, from: zero, stride: width, to: qTile)
    block.syncWarp()
    let qFragments = (0..<4).map { step in
      block.fragmentA(
        qTile, row: zero, k: block.constant(16 * step, as: U32.self), as: BF16x2.self)
    }
    let o = block.registerTile("o", rows: 16, columns: 64)
    let softmax = OnlineSoftmax(block, laneRows: o.laneRows, scale: scale)

    block.loop(from: zero, to: keys, step: tileRows, name: "key") { first in
      block.phase("K and V of the tile")
      block.copyRows(of: k, from: first << 6, stride: width, to: kTile)
      block.copyRows(of: v, from: first << 6, stride: width, to: vTile)
      block.syncWarp()
      block.attend(to: kTile, vTile, q: qFragments, o: o, softmax)
      block.syncWarp()
    }

    block.phase("O ÷ l")
    softmax.normalise(block, o)
    block.storeRows(o, to: out, top: zero)
  }
}

extension Block {
  /// O = α·O + P·V with the keys and values of one tile, by one warp with mma.sync.
  func attend(
    to k: SharedTile<BF16>, _ v: SharedTile<BF16>, q: [[Value<BF16x2>]], o: RegisterTile,
    _ softmax: OnlineSoftmax
  ) {
    phase("S = Q Kᵀ")
    let s = registerTile("s", rows: 16, columns: k.rows)
    for column in stride(from: 0, to: k.rows, by: 8) {
      for (step, fragment) in q.enumerated() {
        let b = fragmentB(
          k, column: constant(column, as: U32.self), k: constant(16 * step, as: U32.self),
          as: BF16x2.self)
        mma(into: s, column: column, a: fragment, b: b)
      }
    }

    phase("P, m, l")
    softmax.update(self, s, rescaling: o)

    phase("O += P V")
    for step in 0..<k.rows / 16 {
      let p = operandA(s, column: 16 * step, as: BF16x2.self)
      for column in stride(from: 0, to: o.columns, by: 8) {
        let b = fragmentBTransposed(
          v, column: constant(column, as: U32.self), k: constant(16 * step, as: U32.self),
          as: BF16x2.self)
        mma(into: o, column: column, a: p, b: b)
      }
    }
  }
}
