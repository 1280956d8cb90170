internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

// Online softmax over blocks of keys (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention,
// arXiv 2205.14135):
//   S = Q·Kᵀ;  m' = max(m, rowmax S);  P = 2^(S − m');  α = 2^(m − m')
//   l = l·α + rowsum P;  O = O·α + P·V;  at the end o = O / l and lse = m + log₂ l.
// A tile writes either final rows or one partial state (m, l, O per row) in the workspace.
extension AttentionContext {
  /// Computes one tile and writes its rows or its partial state.
  func process(_ tile: WorkTile, _ scratch: Scratch) {
    loadQueries(tile, scratch)
    let sawPartial = accumulate(tile, onlyRow: nil, scratch)
    if sawPartial { repairHiddenNonFinite(tile, scratch) }
    if tile.isFinal {
      for (index, packedRow) in tile.rows.enumerated() {
        writeRow(
          request: Int(tile.request), kvHead: Int(tile.kvHead), packedRow: packedRow,
          m: scratch.m[index], l: scratch.l[index], o: scratch.o + index * headDimVO)
      }
    } else if let partials {
      let rows = tile.rows.count
      let target = partials + partialOffsets[Int(tile.partial)]
      target.update(from: scratch.m, count: rows)
      (target + rows).update(from: scratch.l, count: rows)
      (target + 2 * rows).update(from: scratch.o, count: rows * headDimVO)
    }
  }

  /// Runs the online softmax over the tile's keys.
  ///
  /// - Parameter onlyRow: when set, V rows that this row does not see are replaced by zeros; the
  ///   other rows' results are then meaningless.
  /// - Returns: whether any block had hidden pairs.
  private func accumulate(_ tile: WorkTile, onlyRow: Int?, _ scratch: Scratch) -> Bool {
    let rows = tile.rows.count
    let request = Int(tile.request)
    let qoLength = problem.qoLength(request)
    let kvLength = problem.kvLength(request)
    let queries = Int(tile.rowStart) / group..<(Int(tile.rowEnd) - 1) / group + 1
    scratch.m.update(repeating: -.infinity, count: rows)
    scratch.l.update(repeating: 0, count: rows)
    scratch.o.update(repeating: 0, count: rows * headDimVO)
    var sawPartial = false
    let step = stepKeys(rows: rows)
    var start = tile.keys.lowerBound
    while start < tile.keys.upperBound {
      let keys = start..<min(start + step, tile.keys.upperBound)
      start = keys.upperBound
      let status = problem.mask.status(
        queries: queries, keys: keys, qoLength: qoLength, kvLength: kvLength)
      if status == .masked { continue }
      sawPartial = sawPartial || status == .partial
      computeScores(
        rows: rows, keys: keys, request: request, kvHead: Int(tile.kvHead), scratch)
      modifyScores(tile, keys: keys, isPartial: status == .partial, scratch)
      for row in 0..<rows {
        let alpha = kernels.softmaxStep(
          scratch.s + row * Self.blockKeys, Int32(keys.count), scratch.m + row, scratch.l + row)
        if alpha != 1 {
          kernels.scale(scratch.o + row * headDimVO, Int32(headDimVO), alpha)
        }
      }
      let hidden = onlyRow.map { row in
        hiddenKeys(row: tile.rows.lowerBound + row, request: request, keys: keys)
      }
      addValues(
        rows: rows, keys: keys, request: request, kvHead: Int(tile.kvHead), hidden: hidden, scratch)
    }
    return sawPartial
  }

  /// O += P·V.
  private func addValues(
    rows: Int, keys: Range<Int>, request: Int, kvHead: Int, hidden: [Bool]?, _ scratch: Scratch
  ) {
    if let tokens = scales.vToken {
      loadTokenScales(tokens, request: request, kvHead: kvHead, keys: keys, scratch)
      if let hidden {
        for (index, isHidden) in hidden.enumerated() where isHidden {
          scratch.keyScales[index] = 1
        }
      }
      for row in 0..<rows {
        let p = scratch.s + row * Self.blockKeys
        for key in 0..<keys.count { p[key] *= scratch.keyScales[key] }
      }
    }
    v.fill(problem.geometry, request: request, head: kvHead, keys: keys, into: scratch.vRows)
    if let hidden {
      for (index, isHidden) in hidden.enumerated() where isHidden {
        scratch.vRows[index] = UnsafeRawPointer(scratch.zeros)
      }
    }
    let type = problem.types.kv
    let count = Int32(keys.count)
    if rows >= Self.panelRows {
      let widen = kernels.widen(type)
      for key in 0..<keys.count {
        widen(scratch.vRows[key], scratch.v + key * headDimVO, headDimVO)
      }
      kernels.gemm(
        scratch.s, Self.blockKeys, Int32(rows), scratch.v, headDimVO, Int32(headDimVO), count,
        scratch.o, headDimVO, 1)
    } else {
      kernels.weightedSum(type)(
        scratch.s, Self.blockKeys, Int32(rows), scratch.vRows, count, Int32(headDimVO), scratch.o,
        headDimVO)
    }
  }

  private func hiddenKeys(row: Int, request: Int, keys: Range<Int>) -> [Bool] {
    let qoLength = problem.qoLength(request)
    let kvLength = problem.kvLength(request)
    return keys.map {
      !problem.mask.allows(
        request: request, row / group, $0, qoLength: qoLength, kvLength: kvLength)
    }
  }

  /// A hidden key has P = 0, but 0 · NaN is NaN: a NaN or infinity in a V row (or its scale) that one
  /// row sees and another does not would leak. Rows with non-finite results are recomputed with zeros
  /// in place of what they do not see. The arithmetic is otherwise the same, so a finite value in the
  /// hidden place would have given the same bits. The price is one pass over the tile for each
  /// affected row, paid only where a cache holds NaN or infinities.
  private func repairHiddenNonFinite(_ tile: WorkTile, _ scratch: Scratch) {
    let rows = tile.rows.count
    func isAffected(_ row: Int) -> Bool {
      let o = scratch.o + row * headDimVO
      for column in 0..<headDimVO where !o[column].isFinite { return true }
      return false
    }
    let affected = (0..<rows).filter(isAffected)
    guard !affected.isEmpty else { return }
    let (keptO, keptM) = (scratch.kept, scratch.kept + rows * headDimVO)
    let keptL = keptM + rows
    keptO.update(from: scratch.o, count: rows * headDimVO)
    keptM.update(from: scratch.m, count: rows)
    keptL.update(from: scratch.l, count: rows)
    for row in affected {
      _ = accumulate(tile, onlyRow: row, scratch)
      (keptO + row * headDimVO).update(from: scratch.o + row * headDimVO, count: headDimVO)
      keptM[row] = scratch.m[row]
      keptL[row] = scratch.l[row]
    }
    scratch.o.update(from: keptO, count: rows * headDimVO)
    scratch.m.update(from: keptM, count: rows)
    scratch.l.update(from: keptL, count: rows)
  }
}
