import ApusDSL

/// Softmax of rows whose scores come tile by tile: for each row a lane holds, the largest score so
/// far m and the sum of exponentials l.
///
/// A tile of scores x with scale s gives m' = max(m, s · max x), P = 2^(s·x − m') and the factor
/// α = 2^(m − m') that everything summed before must be multiplied with: l' = α·l + Σ P and
/// O' = α·O + P·V. The scale holds log₂e, so that powers of two are powers of e.
struct OnlineSoftmax {
  let m: [Variable<F32>]
  let l: [Variable<F32>]
  let scale: Value<F32>

  init(_ block: Block, laneRows: Int, scale: Value<F32>) {
    // 2^(−2^100) is 0, and differences of such numbers are no NaN.
    m = (0..<laneRows).map { _ in block.variable(-0x1p100, as: F32.self, "m") }
    l = (0..<laneRows).map { _ in block.variable(0, as: F32.self, "l") }
    self.scale = scale
  }

  /// Turns the scores of a tile into P and multiplies `o` with α.
  func update(_ block: Block, _ scores: RegisterTile, rescaling o: RegisterTile) {
    for row in 0..<scores.laneRows {
      let old = m[row].value
      let largest = max(old, block.rowReduce(scores, laneRow: row) { max($0, $1) } * scale)
      let alpha = ex2(old - largest)
      block.assign(m[row], largest)

      var sum = l[row].value * alpha
      for element in scores.row(row) {
        let p = ex2(fma(element.variable.value, scale, -largest))
        block.assign(element.variable, p)
        sum = sum + p
      }
      block.assign(l[row], sum)
      for element in o.row(row) { block.assign(element.variable, element.variable.value * alpha) }
    }
  }

  /// O ÷ l. Each lane summed its own columns; the four lanes of a row add up here, once.
  func normalise(_ block: Block, _ o: RegisterTile) {
    for row in 0..<o.laneRows {
      let inverse = rcp(block.warpSum(l[row].value, lanes: 4))
      for element in o.row(row) { block.assign(element.variable, element.variable.value * inverse) }
    }
  }
}

extension Block {
  /// Writes a warp's tile, 16 rows from `top` on, as rows of `o.columns` elements.
  func storeRows(_ tile: RegisterTile, to o: GlobalPointer<F32>, top: Value<U32>) {
    for laneRow in 0..<tile.laneRows {
      let row = top + self.laneRow + tile.rowOffset(laneRow)
      let elements = tile.row(laneRow)
      for pair in stride(from: 0, to: elements.count, by: 2) {
        let column = laneColumn + elements[pair].column
        store(
          [elements[pair].variable.value, elements[pair + 1].variable.value],
          to: o[row * tile.columns + column])
      }
    }
  }
}
