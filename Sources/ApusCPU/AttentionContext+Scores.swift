internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

extension AttentionContext {
  /// S = Q·Kᵀ of the tile's rows against consecutive keys, in `scratch.s [rows, blockKeys]`.
  func computeScores(
    rows: Int, keys: Range<Int>, request: Int, kvHead: Int, _ scratch: Scratch
  ) {
    let stride = Self.blockKeys
    let panel = Self.panelKeys
    let count = Int32(keys.count)
    for (index, segment) in k.enumerated() {
      segment.rows.fill(
        problem.geometry, request: request, head: kvHead, keys: keys, into: scratch.kRows)
      var type = problem.types.kv
      if let rope = problem.modification.rope {
        loadRotatedKeys(rope, keys: keys, scratch)
        for key in 0..<keys.count {
          scratch.kRows[key] = UnsafeRawPointer(scratch.k + key * headDimQK)
        }
        type = .f32
      }
      let q = scratch.q + segment.qOffset
      let accumulate: Int32 = index == 0 ? 0 : 1
      if rows >= Self.panelRows {
        kernels.packTransposed(type)(
          scratch.kRows, count, count, Int32(segment.dim), scratch.kPacked, panel)
        kernels.gemm(
          q, headDimQK, Int32(rows), scratch.kPacked, panel, count, Int32(segment.dim), scratch.s,
          stride, accumulate)
      } else {
        kernels.scores(type)(
          q, headDimQK, Int32(rows), scratch.kRows, count, Int32(segment.dim), scratch.s, stride,
          accumulate)
      }
    }
  }

  /// Token scales, soft cap, ALiBi and masks, in that order; results are in the exp2 domain.
  func modifyScores(_ tile: WorkTile, keys: Range<Int>, isPartial: Bool, _ scratch: Scratch) {
    let request = Int(tile.request)
    let kvHead = Int(tile.kvHead)
    let qoLength = problem.qoLength(request)
    let kvLength = problem.kvLength(request)
    let count = keys.count
    if let tokens = scales.kToken {
      loadTokenScales(tokens, request: request, kvHead: kvHead, keys: keys, scratch)
    }
    for (index, packedRow) in tile.rows.enumerated() {
      let row = scratch.s + index * Self.blockKeys
      if scales.kToken != nil {
        for key in 0..<count { row[key] *= scratch.keyScales[key] }
      }
      let (query, head) = query(packedRow, kvHead: kvHead)
      if let cap = problem.modification.activeSoftCap {
        kernels.softCap(row, Int32(count), 1 / cap, Float(Double(cap) * Self.log2e))
      }
      if let slopes = problem.modification.alibiSlopes {
        let slope = Float(Double(slopes[head]) * Self.log2e)
        let distance = keys.lowerBound - (kvLength - qoLength + query)
        kernels.addRamp(row, Int32(count), slope * Float(distance), slope)
      }
      if isPartial {
        hideInvisible(
          row, query: query, request: request, keys: keys, qoLength: qoLength, kvLength: kvLength)
      }
    }
  }

  private func hideInvisible(
    _ row: UnsafeMutablePointer<Float>, query: Int, request: Int, keys: Range<Int>, qoLength: Int,
    kvLength: Int
  ) {
    let visible = problem.mask.visibleKeys(query, qoLength: qoLength, kvLength: kvLength)
      .clamped(to: keys)
    let custom = problem.mask.custom
    for key in keys {
      let isVisible =
        visible.contains(key)
        && (custom?.allows(request: request, query, key, kvLength: kvLength) ?? true)
      if !isVisible { row[key - keys.lowerBound] = -.infinity }
    }
  }

  /// Reads the token-head scales of consecutive keys into `scratch.keyScales`.
  func loadTokenScales(
    _ address: RowAddress, request: Int, kvHead: Int, keys: Range<Int>, _ scratch: Scratch
  ) {
    address.fill(
      problem.geometry, request: request, head: kvHead, keys: keys, into: scratch.vRows)
    for key in 0..<keys.count {
      scratch.keyScales[key] = scratch.vRows[key]?.loadUnaligned(as: Float.self) ?? 1
    }
  }
}
