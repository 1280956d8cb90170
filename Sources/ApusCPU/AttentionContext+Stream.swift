internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

// Few rows: every byte of K and V is read once, straight from the cache's rows. The heads of a block
// of keys follow each other, and while one block is read the next is requested in the order of its
// addresses: in NHD a head's rows alone would touch every page of the cache with a fraction of its
// bytes, and no hardware prefetcher follows such strides.
extension AttentionContext {
  /// The online softmax of tiles that differ in their KV head alone.
  func accumulateStream(
    _ tiles: ArraySlice<WorkTile>, next: ArraySlice<WorkTile>, onlyRow: Int?, _ scratch: Scratch
  ) -> Bool {
    guard let first = tiles.first else { return false }
    let request = Int(first.request)
    let rows = first.rows.count
    let (qoLength, kvLength) = (problem.qoLength(request), problem.kvLength(request))
    let step = blocking.stepKeys(rows: rows, isRotated: problem.modification.rope != nil)
    // Even, because a missing weight of a pair is written.
    let stride = step
    var sawPartial = false
    var start = first.keys.lowerBound
    while start < first.keys.upperBound {
      let keys = start..<min(start + step, first.keys.upperBound)
      start = keys.upperBound
      let status = problem.mask.status(
        queries: queries(first.rows), keys: keys, qoLength: qoLength, kvLength: kvLength)
      if status == .masked { continue }
      sawPartial = sawPartial || status == .partial
      if start < first.keys.upperBound {
        let following = start..<min(start + step, first.keys.upperBound)
        lookAhead(tiles, keys: following, scratch)
      } else if let other = next.first {
        let following =
          other.keys.lowerBound..<min(other.keys.lowerBound + step, other.keys.upperBound)
        lookAhead(next, keys: following, scratch)
      } else {
        scratch.ahead.pointee = capus_stream()
      }
      let isScaled = streamScores(
        tiles, keys: keys, stride: stride, isPartial: status == .partial, scratch)
      let all = ScoreBlock(
        rows: 0..<rows * tiles.count, state: 0, scores: scratch.s, stride: stride)
      softmax(all, keys: keys.count, isScaled: isScaled, ahead: scratch.ahead, scratch)
      let hidden = onlyRow.map {
        hiddenKeys(row: first.rows.lowerBound + $0, request: request, keys: keys)
      }
      if let tokens = scales.vToken {
        for (index, tile) in tiles.enumerated() {
          let block = ScoreBlock(
            rows: tile.rows, state: index * rows, scores: scratch.s + index * rows * stride,
            stride: stride)
          scaleWeights(
            block, tokens, request: request, kvHead: Int(tile.kvHead), keys: keys, hidden: hidden,
            scratch)
        }
      }
      if let dot { roundWeights(all, keys: keys.count, dot, scratch) }
      loadValueRows(
        request: request, kvHead: Int(first.kvHead), keys: keys, hidden: hidden, scratch)
      streamValues(tiles: tiles.count, rows: rows, stride: stride, keys: keys.count, scratch)
    }
    return sawPartial
  }

  /// Prepares the requests for the K and V rows of `keys`.
  private func lookAhead(
    _ tiles: ArraySlice<WorkTile>, keys: Range<Int>, _ scratch: Scratch
  ) {
    guard let first = tiles.first else { return }
    let bytes = problem.types.kv.byteCount
    let heads = Int(first.kvHead)..<Int(first.kvHead) + tiles.count
    func fill(
      _ address: RowAddress, width: Int, into rows: UnsafeMutablePointer<UnsafeRawPointer?>
    ) -> (width: Int, count: Int) {
      let isContiguous = heads.count == 1 || address.head == width
      for (place, head) in (isContiguous ? heads.prefix(1) : heads[...]).enumerated() {
        address.fill(
          problem.geometry, request: Int(first.request), head: head, keys: keys,
          into: rows + place * keys.count)
      }
      return isContiguous
        ? (heads.count * width, keys.count) : (width, heads.count * keys.count)
    }
    let key = fill(k[0].rows, width: k[0].dim * bytes, into: scratch.aheadKeys)
    // A latent's V is a part of its K.
    let value =
      problem.latent != nil
      ? (width: 0, count: 0) : fill(v, width: headDimVO * bytes, into: scratch.aheadValues)
    let read = key.width * key.count + value.width * value.count
    let scored = first.rows.count * tiles.count * keys.count * Int(CAPUS_SCORE_PROGRESS)
    scratch.ahead.pointee = capus_stream(
      rows: (
        UnsafePointer(scratch.aheadKeys), UnsafePointer(scratch.aheadValues)
      ),
      row_bytes: (key.width, value.width), count: (Int32(key.count), Int32(value.count)),
      pace: Int32(256 * read / max(read + scored, 1)), part: 0, row: 0, byte: 0, credit: 0)
  }

  /// S = Q·Kᵀ of all tiles' rows.
  ///
  /// - Returns: as `modifyScores`.
  private func streamScores(
    _ tiles: ArraySlice<WorkTile>, keys: Range<Int>, stride: Int, isPartial: Bool,
    _ scratch: Scratch
  ) -> Bool {
    guard let first = tiles.first else { return true }
    let request = Int(first.request)
    let rows = first.rows.count
    let type = problem.types.kv
    for (part, segment) in k.enumerated() {
      segment.rows.fill(
        problem.geometry, request: request, head: Int(first.kvHead), keys: keys,
        into: scratch.kRows)
      let accumulate: Int32 = part == 0 ? 0 : 1
      let ahead = part == 0 ? scratch.ahead : nil
      let dim = Int32(segment.dim)
      let isRotated = problem.modification.rope != nil
      if let rope = problem.modification.rope {
        loadRotatedKeys(rope, keys: keys, scratch)
        for key in 0..<keys.count {
          scratch.kRows[key] = UnsafeRawPointer(scratch.k + key * headDimQK)
        }
      }
      var turn = 0
      while turn < keys.count {
        let count = min(blocking.turnKeys, keys.count - turn)
        let keyRows = scratch.kRows + turn
        for index in 0..<tiles.count {
          let scores = scratch.s + index * rows * stride + turn
          if index > 0 { segment.rows.advance(keyRows, count: count) }
          if let dot {
            dot.scores(type)(
              packedQueries(segment, state: index * rows, scratch), segment.packedStride,
              Int32(rows), keyRows, Int32(count), dim, scores, stride, accumulate, ahead)
          } else {
            kernels.scores(isRotated ? .f32 : type)(
              scratch.q + index * rows * headDimQK + segment.qOffset, headDimQK, Int32(rows),
              keyRows, Int32(count), dim, scores, stride, accumulate, ahead)
          }
        }
        turn += count
      }
    }
    var isScaled = dot == nil
    if isPartial || !isPlain {
      for (index, tile) in tiles.enumerated() {
        let block = ScoreBlock(
          rows: tile.rows, state: index * rows, scores: scratch.s + index * rows * stride,
          stride: stride)
        isScaled = modifyScores(
          block, request: request, kvHead: Int(tile.kvHead), keys: keys, isPartial: isPartial,
          scratch)
      }
    }
    return isScaled
  }

  /// O += P·V of all tiles' rows.
  private func streamValues(
    tiles: Int, rows: Int, stride: Int, keys: Int, _ scratch: Scratch
  ) {
    let type = problem.types.kv
    let dim = Int32(headDimVO)
    var turn = 0
    while turn < keys {
      let count = min(blocking.turnKeys, keys - turn)
      let valueRows = scratch.vRows + turn
      for index in 0..<tiles {
        if index > 0 { v.advance(valueRows, count: count) }
        let first = index * rows
        let o = scratch.o + first * headDimVO
        if let dot {
          dot.weightedSum(type)(
            scratch.p + first * stride + turn, stride, Int32(rows), valueRows, Int32(count), dim,
            o, headDimVO, scratch.ahead)
        } else {
          kernels.weightedSum(type)(
            scratch.s + first * stride + turn, stride, Int32(rows), valueRows, Int32(count), dim,
            o, headDimVO, scratch.ahead)
        }
      }
      turn += count
    }
  }
}
