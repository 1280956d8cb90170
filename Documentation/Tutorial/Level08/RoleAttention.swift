public import ApusDSL
public import ApusIR

/// Level 8: attention on Hopper in two roles: one thread loads K and V into a ring, a warpgroup
/// multiplies and normalises 64 queries.
///
/// Q [64 · blocks, 64], K and V [keys, 64] are bf16 behind tensor maps with boxes of 64 × 64 and
/// the 128-byte swizzle; O is f32.
public struct RoleAttention: Kernel {
  /// Keys of a tile.
  public static let keysPerTile = 64
  /// Stages of the ring.
  public let stages: Int
  /// The entry's name in PTX.
  public let symbol = "level08_role_attention"
  /// Threads of a block: a warpgroup for each role, as register budgets belong to warpgroups.
  public let launch = LaunchBounds(threads: 2 * warpgroupSize)
  /// The oldest GPU that has the instructions.
  public let target = Target.sm90a

  /// A kernel with a number of stages.
  public init(stages: Int = 2) { self.stages = stages }

  /// Parameters q, k, v: tensor maps; o: pointer to f32; tiles: u32, of keys; scale: f32, of the
  /// scores, times log₂e.
  public func body(_ block: Block) {
    let q = block.tensorMap("q")
    let k = block.tensorMap("k")
    let v = block.tensorMap("v")
    let out = block.pointer("o", to: F32.self)
    let tiles = block.parameter("tiles", U32.self)
    let scale = block.parameter("scale", F32.self)
    let qTile = block.tile("q", BF16.self, rows: 64, columns: 64, swizzle: .bytes128)
    let kTiles = block.tiles(
      "k", BF16.self, count: stages, rows: Self.keysPerTile, columns: 64, swizzle: .bytes128)
    let vTiles = block.tiles(
      "v", BF16.self, count: stages, rows: Self.keysPerTile, columns: 64, swizzle: .bytes128)
    let qReady = block.mbarriers("qReady", arrivals: 1)
    // Each of the consumer's four warps hands a stage back.
    let ring = block.ring("kv", stages: stages, emptyArrivals: 4)
    block.initialise([qReady, ring.full, ring.empty])
    let top = block.let(block.blockIndex() << 6)

    block.roles { roles in
      roles.role("producer", warps: 0..<4, registers: 40) {
        block.when(block.threadIndex == 0) {
          let zero = block.constant(0, as: S32.self)
          block.arrive(qReady[0], expecting: qTile.transactionBytes)
          block.loadTensor(
            q, at: [zero, top.converted(to: S32.self)], to: qTile[0, 0], signalling: qReady[0])
          let cursor = block.cursor()
          block.loop(tiles, name: "tile") { tile in
            let row = (tile << 6).converted(to: S32.self)
            let stage = block.acquireEmpty(ring, cursor)
            block.arrive(stage.full, expecting: 2 * kTiles.first.transactionBytes)
            block.loadTensor(
              k, at: [zero, row], to: kTiles[stage.index][0, 0], signalling: stage.full)
            block.loadTensor(
              v, at: [zero, row], to: vTiles[stage.index][0, 0], signalling: stage.full)
            block.advance(cursor, in: ring)
          }
        }
      }

      roles.role("consumer", warps: 4..<8, registers: 232) {
        let o = block.registerTile("o", rows: 16, columns: 64)
        let softmax = OnlineSoftmax(block, laneRows: o.laneRows, scale: scale)
        let cursor = block.cursor()
        block.wait(qReady[0], parity: block.constant(0, as: U32.self))
        block.loop(tiles, name: "tile") { _ in
          let stage = block.acquireFull(ring, cursor)
          block.attend(to: kTiles[stage.index], vTiles[stage.index], q: qTile, o: o, softmax)
          block.when(block.laneIndex == 0) {
            block.arrive(stage.empty)
          }
          block.advance(cursor, in: ring)
        }
        softmax.normalise(block, o)
        block.storeRows(o, to: out, top: top + ((block.warpIndex & 3) << 4))
      }
    }
  }
}

extension Block {
  /// O = α·O + P·V with the keys and values of one tile, by a warpgroup with wgmma.
  func attend(
    to k: SharedTile<BF16>, _ v: SharedTile<BF16>, q: SharedTile<BF16>, o: RegisterTile,
    _ softmax: OnlineSoftmax
  ) {
    phase("S = Q Kᵀ")
    let s = registerTile("s", rows: 16, columns: k.rows)
    wgmmaFence()
    for step in 0..<4 {
      wgmma(
        into: s, a: WarpgroupOperand<BF16x2>.shared(q.descriptor(column: 16 * step, .k)),
        b: k.descriptor(column: 16 * step, .k), element: .bf16)
    }
    let scores = wgmmaCommit()
    wait(scores)

    phase("P, m, l")
    softmax.update(self, s, rescaling: o)
    let p = (0..<k.rows / 16).map { operandA(s, column: 16 * $0, as: BF16x2.self) }

    phase("O += P V")
    wgmmaFence()
    for (step, registers) in p.enumerated() {
      wgmma(
        into: o, a: .registers(registers), b: v.descriptor(row: 16 * step, .mn), element: .bf16,
        transposesB: true)
    }
    let outputs = wgmmaCommit()
    wait(outputs)
  }
}
