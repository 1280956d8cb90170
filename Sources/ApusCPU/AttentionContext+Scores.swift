internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

/// Scores of some packed rows against the keys of one step.
struct ScoreBlock {
  /// Packed rows.
  var rows: Range<Int>
  /// Place of the first row in the buffers of state (q, o, m, l).
  var state: Int
  /// The scores, rows `stride` apart.
  var scores: UnsafeMutablePointer<Float>
  var stride: Int
}

extension AttentionContext {
  /// Whether scores are products times a factor, but for masks.
  var isPlain: Bool {
    scales.kToken == nil && problem.modification.activeSoftCap == nil
      && problem.modification.alibiSlopes == nil
  }

  /// Token scales, soft cap, ALiBi and masks, in that order.
  ///
  /// - Returns: whether the scores are in the exp2 domain already; otherwise they are products that
  ///   the rows' factors bring there.
  func modifyScores(
    _ block: ScoreBlock, request: Int, kvHead: Int, keys: Range<Int>, isPartial: Bool,
    _ scratch: Scratch
  ) -> Bool {
    let modification = problem.modification
    if isPlain && !isPartial { return dot == nil }
    let qoLength = problem.qoLength(request)
    let kvLength = problem.kvLength(request)
    let count = keys.count
    if let tokens = scales.kToken {
      loadTokenScales(
        tokens, request: request, kvHead: kvHead, order: KeyOrder(keys, lanes: 1), scratch)
    }
    for (index, packedRow) in block.rows.enumerated() {
      let row = block.scores + index * block.stride
      if dot != nil { kernels.scale(row, Int32(count), scratch.factor[block.state + index]) }
      if scales.kToken != nil {
        for key in 0..<count { row[key] *= scratch.keyScales[key] }
      }
      let (query, head) = query(packedRow, kvHead: kvHead)
      if let cap = modification.activeSoftCap {
        kernels.softCap(row, Int32(count), 1 / cap, Float(Double(cap) * Self.log2e))
      }
      if let slopes = modification.alibiSlopes {
        let slope = Float(Double(slopes[head]) * Self.log2e)
        let distance = keys.lowerBound - (kvLength - qoLength + query)
        kernels.addRamp(row, Int32(count), slope * Float(distance), slope)
      }
      if isPartial {
        hideInvisible(
          row, query: query, request: request, keys: keys, qoLength: qoLength, kvLength: kvLength)
      }
    }
    return true
  }

  private func hideInvisible(
    _ row: UnsafeMutablePointer<Float>, query: Int, request: Int, keys: Range<Int>, qoLength: Int,
    kvLength: Int
  ) {
    let visible = problem.mask.visibleKeys(query, qoLength: qoLength, kvLength: kvLength)
      .clamped(to: keys)
    // An empty range is clamped to one end of the keys: all of them lie on its other side.
    row.update(repeating: -.infinity, count: visible.lowerBound - keys.lowerBound)
    (row + (visible.upperBound - keys.lowerBound)).update(
      repeating: -.infinity, count: keys.upperBound - visible.upperBound)
    guard let custom = problem.mask.custom else { return }
    for key in visible where !custom.allows(request: request, query, key, kvLength: kvLength) {
      row[key - keys.lowerBound] = -.infinity
    }
  }

  /// One step of the online softmax: S becomes P, and O is brought to the new maxima.
  func softmax(
    _ block: ScoreBlock, keys: Int, isScaled: Bool, _ scratch: Scratch
  ) {
    let (first, count) = (block.state, block.rows.count)
    let alpha = scratch.alpha
    kernels.softmaxRows(
      block.scores, block.stride, Int32(count), Int32(keys),
      isScaled ? scratch.ones : scratch.factor + first, scratch.m + first, scratch.l + first, alpha)
    for row in 0..<count where alpha[row] != 1 {
      kernels.scale(scratch.o + (first + row) * headDimVO, Int32(headDimVO), alpha[row])
    }
  }

  /// P times the scales of the values' tokens; a hidden one may be anything.
  func scaleWeights(
    _ block: ScoreBlock, _ tokens: RowAddress, request: Int, kvHead: Int, order: KeyOrder,
    hidden: [Bool]?, _ scratch: Scratch
  ) {
    let count = order.keys.count
    loadTokenScales(tokens, request: request, kvHead: kvHead, order: order, scratch)
    if let hidden {
      for place in 0..<count where hidden[order.index(at: place)] { scratch.keyScales[place] = 1 }
    }
    for row in 0..<block.rows.count {
      let p = block.scores + row * block.stride
      for key in 0..<count { p[key] *= scratch.keyScales[key] }
    }
  }

  /// P as bfloat16, with a zero weight behind an odd number.
  func roundWeights(_ block: ScoreBlock, keys: Int, _ dot: DotKernels, _ scratch: Scratch) {
    if keys == block.stride {
      dot.round(block.scores, scratch.p, keys * block.rows.count)
      return
    }
    for row in 0..<block.rows.count {
      let p = scratch.p + row * block.stride
      dot.round(block.scores + row * block.stride, p, keys)
      if keys % 2 == 1 { p[keys] = 0 }
    }
  }

  /// Addresses of the V rows of a block, zeros in place of hidden ones.
  func loadValueRows(
    request: Int, kvHead: Int, order: KeyOrder, hidden: [Bool]?, _ scratch: Scratch
  ) {
    v.fill(keyMap, request: request, head: kvHead, order: order, into: scratch.vRows)
    if let hidden {
      for place in 0..<order.keys.count where hidden[order.index(at: place)] {
        scratch.vRows[place] = UnsafeRawPointer(scratch.zeros)
      }
    }
  }

  /// Reads the token-head scales of keys into `scratch.keyScales`.
  func loadTokenScales(
    _ address: RowAddress, request: Int, kvHead: Int, order: KeyOrder, _ scratch: Scratch
  ) {
    address.fill(
      keyMap, request: request, head: kvHead, order: order, into: scratch.vRows)
    for key in 0..<order.keys.count {
      scratch.keyScales[key] = scratch.vRows[key]?.loadUnaligned(as: Float.self) ?? 1
    }
  }
}
