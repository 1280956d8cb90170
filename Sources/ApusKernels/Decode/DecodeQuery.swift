internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// The query rows of an item as B operands of K·Qᵀ, and the scale of each of the lane's columns.
///
/// Up to two tiles of rows are in registers. More are in shared memory, as fragments in lane order:
/// warp w writes tile w, all warps read all of them.
struct DecodeQuery {
  /// `[rowTile][column]`: factor that makes products exponents of 2.
  let scales: [[Variable<F32>]]
  /// `[rowTile][band]`, or one tile on its way to shared memory: two registers.
  private let registers: [[[Variable<U32>]]]
  /// `[rowTile][band][lane]`: two words; and the power of two that undoes a row's scaling.
  private let fragments: SharedArray<U32>?
  private let inverses: SharedArray<F32>?
  private let context: DecodeContext

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext) {
    self.context = context
    let block = context.block
    let kernel = context.kernel
    registers = (0..<(kernel.sharesQueries ? 1 : kernel.rowTiles)).map { _ in
      (0..<kernel.bands).map { _ in (0..<2).map { _ in block.variable(U32.self, "q") } }
    }
    scales = (0..<kernel.rowTiles).map { _ in
      (0..<2).map { _ in block.variable(F32.self, "scale") }
    }
    fragments =
      kernel.sharesQueries
      ? block.shared("queries", U32.self, count: kernel.rows * kernel.bands * 8) : nil
    inverses = kernel.sharesQueries ? block.shared("inverses", F32.self, count: kernel.rows) : nil
  }

  /// B operand of 16 dimensions.
  func fragment(_ rowTile: Int, band: Int) -> [Value<U32>] {
    guard let fragments else { return registers[rowTile][band].map(\.value) }
    let own = fragments[context.lane << 1]
    return block.load(own[(rowTile * kernel.bands + band) * 2 * warpSize], count: 2)
  }

  /// Whether binary16 products of bfloat16 queries need a common exponent.
  private var needsExponent: Bool {
    kernel.queryType == .bf16 && kernel.productElement == .f16
  }

  /// Reads the rows of an item; rows past its end are zeros. With shared queries all threads take
  /// part, after a barrier that ends the reads of the item before.
  func load(_ item: DecodeItemValues, codeScale: Float) {
    guard let fragments, let inverses else {
      for tile in 0..<kernel.rowTiles {
        let inverse = load(item, registers[tile], firstRow: context.u32(8 * tile))
        setScales(item, tile, codeScale) { column in
          inverse.map { block.shuffle($0, from: (context.thread << 3) + 4 * column) }
        }
      }
      return
    }
    block.when(context.warp < kernel.rowTiles, .uniform) {
      let inverse = load(item, registers[0], firstRow: context.warp << 3)
      let target = fragments[(context.warp * kernel.bands * warpSize + context.lane) << 1]
      for (band, pair) in registers[0].enumerated() {
        block.store(pair.map(\.value), to: target[band * 2 * warpSize])
      }
      if let inverse {
        block.when(context.thread == 0) {
          block.store(inverse, to: inverses[(context.warp << 3) + context.group])
        }
      }
    }
    block.syncThreads()
    for tile in 0..<kernel.rowTiles {
      setScales(item, tile, codeScale) { column in
        needsExponent
          ? block.load(inverses[(context.thread << 1)][column + 8 * tile]) : nil
      }
    }
  }

  /// One tile of rows; the result is what `normalise` returns, if it is needed.
  private func load(
    _ item: DecodeItemValues, _ registers: [[Variable<U32>]], firstRow: Value<U32>
  ) -> Value<F32>? {
    let parameters = context.parameters
    for pair in registers { for register in pair { block.assign(register, 0) } }
    let row = context.group + firstRow
    let (query, member) = context.place(item, row: row)
    let head = context.keyHead(item) * parameters.group + member
    block.when(row < item.rowCount) {
      let start =
        (item.queryRow + query).multipliedWide(by: parameters.queryRow)
        + head.multipliedWide(by: parameters.queryHead)
      let address = parameters.queries[start]
      // FP8 chunks hold dimensions 4t… (`DecodeTile`).
      let lane = address[context.thread * (kernel.isFP8 ? 2 : 1)]
      for (band, pair) in registers.enumerated() {
        // Dimensions behind the last stay 0.
        let left = kernel.headDim - 16 * band
        if kernel.isFP8 {
          guard left > 0 else { continue }
          let words = block.load(lane[8 * band], count: 2)
          for (register, word) in zip(pair, words) { block.assign(register, word) }
        } else {
          for (half, register) in pair.enumerated() where left > 8 * half {
            block.assign(register, block.load(lane[8 * band + 4 * half]))
          }
        }
      }
    }
    return needsExponent ? normalise(registers) : nil
  }

  /// Scales of the lane's columns of a tile.
  ///
  /// - Parameter inverse: what undoes the scaling of a column's row; nil if there is none.
  private func setScales(
    _ item: DecodeItemValues, _ tile: Int, _ codeScale: Float,
    inverse: (_ column: Int) -> Value<F32>?
  ) {
    let parameters = context.parameters
    for column in 0..<2 {
      var scale = parameters.capScale ?? parameters.scoreScale
      if let inverse = inverse(column) { scale = scale * inverse }
      if codeScale != 1 { scale = scale * codeScale }
      if let queryScales = parameters.queryScales, let keyScales = parameters.keyScales {
        let row = (context.thread << 1) + (column + 8 * tile)
        let member = context.place(item, row: row).head
        let keyHead = context.keyHead(item)
        let isRow = row < item.rowCount
        scale = scale * headScale(queryScales, keyHead * parameters.group + member, if: isRow)
        scale = scale * headScale(keyScales, keyHead, if: isRow)
      }
      block.assign(scales[tile][column], scale)
    }
  }

  /// A head's scale; 1 without scales.
  private func headScale(
    _ scales: GlobalPointer<F32>, _ head: Value<U32>, if isRow: Value<Pred>
  ) -> Value<F32> {
    let value = block.variable(1, as: F32.self)
    block.when((scales.address != 0) & isRow) { block.assign(value, block.load(scales[head])) }
    return value.value
  }

  /// Rounds a row to binary16 after scaling its largest magnitude into 2^7…2^8: exact for values
  /// within 2^−21 of the largest.
  ///
  /// - Returns: the power of two that undoes it, in the lanes of the row.
  private func normalise(_ registers: [[Variable<U32>]]) -> Value<F32> {
    var largest = context.f32(0)
    for word in registers.flatMap({ $0 }).map(\.value) {
      let high = (word & 0x7FFF_0000).bitcast(to: F32.self)
      let low = ((word << 16) & 0x7FFF_0000).bitcast(to: F32.self)
      largest = max(largest, max(low, high))
    }
    largest = block.warpMax(largest, lanes: 4)
    // Exponents that keep both powers of two normal.
    let exponent = min(
      max(largest.bitcast(to: U32.self) & 0x7F80_0000, context.u32(20 << 23)),
      context.u32(240 << 23))
    let factor = (context.u32(261 << 23) - exponent).bitcast(to: F32.self)
    for register in registers.flatMap({ $0 }) {
      let word = register.value
      let low = (word << 16).bitcast(to: F32.self) * factor
      let high = (word & 0xFFFF_0000).bitcast(to: F32.self) * factor
      block.assign(register, low.converted(to: F16x2.self, high: high).bitcast(to: U32.self))
    }
    return (exponent - (7 << 23)).bitcast(to: F32.self)
  }
}
