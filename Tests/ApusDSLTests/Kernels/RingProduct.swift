import ApusDSL
import ApusIR

/// C = A · Bᵀ of 64 × `columns` bf16 on Hopper: a producer warp group fills a ring by tensor copies,
/// a consumer warpgroup multiplies with wgmma.
struct RingProduct: Kernel {
  let columns: Int
  let stages: Int
  let symbol = "sm90_ring_product_bf16"
  let launch = LaunchBounds(threads: 256)
  let target = Target.sm90a

  func body(_ block: Block) {
    let aMap = block.tensorMap("aMap")
    let bMap = block.tensorMap("bMap")
    let c = block.pointer("c", to: F32.self)
    let panels = block.parameter("panels", U32.self)
    let aTiles = block.tiles(
      "a", BF16.self, count: stages, rows: 64, columns: 64, swizzle: .bytes128)
    let bTiles = block.tiles(
      "b", BF16.self, count: stages, rows: columns, columns: 64, swizzle: .bytes128)
    let ring = block.ring("tiles", stages: stages, emptyArrivals: 4)
    block.initialise([ring.full, ring.empty])

    block.roles { roles in
      roles.role("producer", warps: 0..<4, registers: 24) {
        block.when(block.threadIndex == 0) {
          let cursor = block.cursor()
          block.loop(panels) { panel in
            let stage = block.acquireEmpty(ring, cursor)
            let a = aTiles[stage.index]
            let b = bTiles[stage.index]
            let k = (panel << 6).converted(to: S32.self)
            let zero = block.constant(0, as: S32.self)
            block.arrive(stage.full, expecting: a.transactionBytes + b.transactionBytes)
            block.loadTensor(aMap, at: [k, zero], to: a[0, 0], signalling: stage.full)
            block.loadTensor(bMap, at: [k, zero], to: b[0, 0], signalling: stage.full)
            block.advance(cursor, in: ring)
          }
        }
      }
      roles.role("consumer", warps: 4..<8, registers: 240) {
        let d = block.registerTile("d", rows: 16, columns: columns)
        let cursor = block.cursor()
        block.loop(panels) { _ in
          let stage = block.acquireFull(ring, cursor)
          let a = aTiles[stage.index]
          let b = bTiles[stage.index]
          block.wgmmaFence()
          for step in 0..<4 {
            block.wgmma(
              into: d, a: WarpgroupOperand<BF16x2>.shared(a.descriptor(column: step * 16, .k)),
              b: b.descriptor(column: step * 16, .k), element: .bf16)
          }
          block.wgmmaCommit()
          block.wgmmaWait()
          block.when(block.laneIndex == 0) { block.arrive(stage.empty) }
          block.advance(cursor, in: ring)
        }
        let warpRow = ((block.threadIndex >> 5) & 3) << 4
        for laneRow in 0..<d.laneRows {
          let row = warpRow + block.laneRow + d.rowOffset(laneRow)
          for element in d.row(laneRow) {
            block.store(
              element.variable.value,
              to: c[row * columns + block.laneColumn + element.column])
          }
        }
      }
    }
  }
}
