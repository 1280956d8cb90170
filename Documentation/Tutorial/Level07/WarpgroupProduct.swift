public import ApusDSL
public import ApusIR

/// Level 7: C = A · Bᵀ of 64 × `columns` on Hopper: tensor copies fill shared memory, an mbarrier
/// says when, a warpgroup multiplies with wgmma.
///
/// A [64, k] and B [columns, k] are bf16 behind tensor maps with boxes of 64 columns and the
/// 128-byte swizzle; C is f32; k = 64 · panels.
public struct WarpgroupProduct: Kernel {
  /// Columns of C, a multiple of 8.
  public let columns: Int
  /// The entry's name in PTX.
  public let symbol = "level07_warpgroup_product"
  /// Threads of a block.
  public let launch = LaunchBounds(threads: warpgroupSize)
  /// The oldest GPU that has the instructions.
  public let target = Target.sm90a

  /// A kernel for a number of columns.
  public init(columns: Int) { self.columns = columns }

  /// Parameters a, b: tensor maps; c: pointer to f32; panels: u32.
  public func body(_ block: Block) {
    let a = block.tensorMap("a")
    let b = block.tensorMap("b")
    let c = block.pointer("c", to: F32.self)
    let panels = block.parameter("panels", U32.self)
    let aTile = block.tile("a", BF16.self, rows: 64, columns: 64, swizzle: .bytes128)
    let bTile = block.tile("b", BF16.self, rows: columns, columns: 64, swizzle: .bytes128)
    let full = block.mbarriers("full", arrivals: 1)
    block.initialise([full])
    let d = block.registerTile("d", rows: 16, columns: columns)

    block.loop(panels, name: "panel") { panel in
      block.phase("panels of A and B")
      block.when(block.threadIndex == 0) {
        let k = (panel << 6).converted(to: S32.self)
        let zero = block.constant(0, as: S32.self)
        block.arrive(full[0], expecting: aTile.transactionBytes + bTile.transactionBytes)
        block.loadTensor(a, at: [k, zero], to: aTile[0, 0], signalling: full[0])
        block.loadTensor(b, at: [k, zero], to: bTile[0, 0], signalling: full[0])
      }
      block.wait(full[0], parity: panel & 1)

      block.phase("D += A Bᵀ")
      block.wgmmaFence()
      for step in 0..<4 {
        block.wgmma(
          into: d, a: WarpgroupOperand<BF16x2>.shared(aTile.descriptor(column: 16 * step, .k)),
          b: bTile.descriptor(column: 16 * step, .k), element: .bf16)
      }
      let products = block.wgmmaCommit()
      block.wait(products)
      block.syncThreads()
    }

    block.phase("C")
    block.storeRows(d, to: c, top: block.warpIndex << 4)
  }
}
