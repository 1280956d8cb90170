internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

// Few rows: every byte of K and V is read once, straight from the cache's rows, and close to the
// order of addresses. A step of keys is cut into a few distant parts; one token of each part in turn is
// read with all its heads. In NHD each part is then one stream through memory, which hardware
// prefetchers follow; one head's rows alone would be strides that none follows.
extension AttentionContext {
  /// The online softmax of tiles that differ in their KV head alone.
  func accumulateStream(
    _ tiles: ArraySlice<WorkTile>, next: ArraySlice<WorkTile>, onlyRow: Int?, _ scratch: Scratch
  ) -> Bool {
    guard let first = tiles.first else { return false }
    let request = Int(first.request)
    let rows = first.rows.count
    let (qoLength, kvLength) = (problem.qoLength(request), problem.kvLength(request))
    let isRotated = problem.modification.rope != nil
    let step = blocking.stepKeys(rows: rows, isRotated: isRotated)
    // Even, because a missing weight of a pair is written.
    let stride = step
    let lanes = isRotated ? 1 : Blocking.lanes
    var sawPartial = false
    var start = first.keys.lowerBound
    while start < first.keys.upperBound {
      let keys = start..<min(start + step, first.keys.upperBound)
      start = keys.upperBound
      let status = problem.mask.status(
        queries: queries(first.rows), keys: keys, qoLength: qoLength, kvLength: kvLength)
      if status == .masked { continue }
      sawPartial = sawPartial || status == .partial
      let order = KeyOrder(keys, lanes: lanes)
      let hidden = onlyRow.map {
        hiddenKeys(row: first.rows.lowerBound + $0, request: request, keys: keys)
      }
      let isScaled = streamScores(
        tiles, order, stride: stride, isPartial: status == .partial, scratch)
      let all = ScoreBlock(
        rows: 0..<rows * tiles.count, state: 0, scores: scratch.s, stride: stride)
      softmax(all, keys: keys.count, isScaled: isScaled, scratch)
      if let tokens = scales.vToken {
        for (index, tile) in tiles.enumerated() {
          let block = ScoreBlock(
            rows: tile.rows, state: index * rows, scores: scratch.s + index * rows * stride,
            stride: stride)
          scaleWeights(
            block, tokens, request: request, kvHead: Int(tile.kvHead), order: order,
            hidden: hidden, scratch)
        }
      }
      if let dot { roundWeights(all, keys: keys.count, dot, scratch) }
      loadValueRows(
        request: request, kvHead: Int(first.kvHead), order: order, hidden: hidden, scratch)
      let (after, afterStart) = start < first.keys.upperBound ? (first, start) : nextStart(next)
      if let after {
        let range = afterStart..<min(afterStart + step, after.keys.upperBound)
        k[0].rows.fillFirst(
          keyMap, request: Int(after.request), head: Int(after.kvHead),
          order: KeyOrder(range, lanes: lanes), into: scratch.vRows + keys.count)
      } else {
        repeatFirst(scratch.vRows, keys: keys.count)
      }
      streamValues(tiles: tiles.count, rows: rows, stride: stride, keys: keys.count, scratch)
    }
    return sawPartial
  }

  private func nextStart(_ next: ArraySlice<WorkTile>) -> (WorkTile?, Int) {
    (next.first, next.first?.keys.lowerBound ?? 0)
  }

  /// Continues a list with rows that need no request.
  private func repeatFirst(_ rows: UnsafeMutablePointer<UnsafeRawPointer?>, keys: Int) {
    (rows + keys).update(repeating: rows[0], count: Int(CAPUS_FOLLOWING))
  }

  /// S = Q·Kᵀ of all tiles' rows.
  ///
  /// - Returns: as `modifyScores`.
  private func streamScores(
    _ tiles: ArraySlice<WorkTile>, _ order: KeyOrder, stride: Int, isPartial: Bool,
    _ scratch: Scratch
  ) -> Bool {
    guard let first = tiles.first else { return true }
    let request = Int(first.request)
    let rows = first.rows.count
    let type = problem.types.kv
    let keys = order.keys
    for (part, segment) in k.enumerated() {
      segment.rows.fill(
        keyMap, request: request, head: Int(first.kvHead), order: order,
        into: scratch.kRows)
      let accumulate: Int32 = part == 0 ? 0 : 1
      let dim = Int32(segment.dim)
      let isRotated = problem.modification.rope != nil
      if let rope = problem.modification.rope {
        loadRotatedKeys(rope, keys: keys, scratch)
        for key in 0..<keys.count {
          scratch.kRows[key] = UnsafeRawPointer(scratch.k + key * headDimQK)
        }
        repeatFirst(scratch.kRows, keys: keys.count)
      } else {
        let after = part + 1 < k.count ? k[part + 1].rows : v
        after.fillFirst(
          keyMap, request: request, head: Int(first.kvHead), order: order,
          into: scratch.kRows + keys.count)
      }
      var walk = Blocking.walk(
        heads: tiles.count, bytes: segment.dim * type.byteCount, stride: segment.rows.head, group: 4
      )
      if let dot {
        dot.scores(type)(
          packedQueries(segment, state: 0, scratch), segment.packedStride, Int32(rows),
          scratch.kRows, Int32(keys.count), dim, scratch.s, stride, accumulate, &walk)
      } else {
        kernels.scores(isRotated ? .f32 : type)(
          scratch.q + segment.qOffset, headDimQK, Int32(rows), scratch.kRows, Int32(keys.count),
          dim, scratch.s, stride, accumulate, &walk)
      }
    }
    guard isPartial || !isPlain else { return dot == nil }
    for (index, tile) in tiles.enumerated() {
      let block = ScoreBlock(
        rows: tile.rows, state: index * rows, scores: scratch.s + index * rows * stride,
        stride: stride)
      for row in 0..<rows { order.sort(block.scores + row * stride, scratch.line) }
      _ = modifyScores(
        block, request: request, kvHead: Int(tile.kvHead), keys: keys, isPartial: isPartial,
        scratch)
      for row in 0..<rows { order.shuffle(block.scores + row * stride, scratch.line) }
    }
    return true
  }

  /// O += P·V of all tiles' rows.
  private func streamValues(
    tiles: Int, rows: Int, stride: Int, keys: Int, _ scratch: Scratch
  ) {
    let type = problem.types.kv
    let dim = Int32(headDimVO)
    var walk = Blocking.walk(
      heads: tiles, bytes: headDimVO * type.byteCount, stride: v.head,
      group: type.byteCount == 1 ? 8 : 4)
    if let dot {
      dot.weightedSum(type)(
        scratch.p, stride, Int32(rows), scratch.vRows, Int32(keys), dim, scratch.o, headDimVO,
        &walk)
    } else {
      kernels.weightedSum(type)(
        scratch.s, stride, Int32(rows), scratch.vRows, Int32(keys), dim, scratch.o, headDimVO,
        &walk)
    }
  }
}
