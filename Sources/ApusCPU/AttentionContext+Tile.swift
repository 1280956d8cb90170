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
  /// Computes tiles that differ in their KV head alone, and writes their rows or partial states.
  ///
  /// - Parameter next: what the same thread computes next, so that its first rows can be requested.
  func process(
    _ tiles: ArraySlice<WorkTile>, next: ArraySlice<WorkTile>, _ scratch: Scratch
  ) {
    guard let first = tiles.first else { return }
    let rows = first.rows.count
    for (index, tile) in tiles.enumerated() { loadQueries(tile, at: index * rows, scratch) }
    if accumulate(tiles, next: next, onlyRow: nil, scratch) {
      repairHiddenNonFinite(tiles, scratch)
    }
    for (position, tile) in tiles.enumerated() {
      let start = position * rows
      if tile.isFinal {
        for (index, packedRow) in tile.rows.enumerated() {
          let row = start + index
          writeRow(
            request: Int(tile.request), kvHead: Int(tile.kvHead), packedRow: packedRow,
            m: scratch.m[row], l: scratch.l[row], o: scratch.o + row * headDimVO)
        }
      } else if let partials {
        let target = partials + partialOffsets[Int(tile.partial)]
        target.update(from: scratch.m + start, count: rows)
        (target + rows).update(from: scratch.l + start, count: rows)
        (target + 2 * rows).update(from: scratch.o + start * headDimVO, count: rows * headDimVO)
      }
    }
  }

  /// Runs the online softmax over the tiles' keys.
  ///
  /// - Parameter onlyRow: when set, for a single tile, V rows that this row does not see are replaced
  ///   by zeros; the results of other queries' rows are then meaningless.
  /// - Returns: whether any block had hidden pairs.
  private func accumulate(
    _ tiles: ArraySlice<WorkTile>, next: ArraySlice<WorkTile>, onlyRow: Int?, _ scratch: Scratch
  ) -> Bool {
    guard let first = tiles.first else { return false }
    let rows = first.rows.count
    let total = rows * tiles.count
    scratch.m.update(repeating: -.infinity, count: total)
    scratch.l.update(repeating: 0, count: total)
    scratch.o.update(repeating: 0, count: total * headDimVO)
    return usesPanels(rows: rows)
      ? accumulatePanels(first, onlyRow: onlyRow, scratch)
      : accumulateStream(tiles, next: next, onlyRow: onlyRow, scratch)
  }

  /// Whether a tile packs K and V into panels for the matrix kernel.
  func usesPanels(rows: Int) -> Bool { rows >= Blocking.panelRows }

  /// The keys of a block that a row does not see.
  func hiddenKeys(row: Int, request: Int, keys: Range<Int>) -> [Bool] {
    let qoLength = problem.qoLength(request)
    let kvLength = problem.kvLength(request)
    return keys.map {
      !problem.mask.allows(
        request: request, row / group, $0, qoLength: qoLength, kvLength: kvLength)
    }
  }

  /// Queries that packed rows belong to.
  func queries(_ rows: Range<Int>) -> Range<Int> {
    rows.lowerBound / group..<(rows.upperBound - 1) / group + 1
  }

  /// A hidden key has P = 0, but 0 · NaN is NaN: a NaN or infinity in a V row (or its scale) that one
  /// row sees and another does not would leak. Rows with non-finite results to which such a key is
  /// hidden are recomputed with zeros in place of what they do not see. The arithmetic is otherwise the
  /// same, so a finite value in the hidden place would have given the same bits. The price is one pass
  /// over the tile for each query that a key is hidden from, paid only where a cache holds NaN or
  /// infinities.
  private func repairHiddenNonFinite(_ tiles: ArraySlice<WorkTile>, _ scratch: Scratch) {
    guard let first = tiles.first else { return }
    let rows = first.rows.count
    let total = rows * tiles.count
    func isAffected(_ row: Int) -> Bool {
      let o = scratch.o + row * headDimVO
      for column in 0..<headDimVO where !o[column].isFinite { return true }
      return false
    }
    // Places of rows of one query in the buffers, and their tile.
    var repairs: [(position: Int, rows: [Int])] = []
    for (index, tile) in tiles.enumerated() {
      let affected = (index * rows..<(index + 1) * rows).filter(isAffected)
      if affected.isEmpty { continue }
      let packed = { tile.rows.lowerBound + $0 - index * rows }
      let byQuery = Dictionary(grouping: affected) { packed($0) / group }
      for query in hidingNonFinite(byQuery.keys.sorted(), tile, scratch) {
        repairs.append((tiles.startIndex + index, byQuery[query] ?? []))
      }
    }
    guard !repairs.isEmpty else { return }
    let (keptO, keptM) = (scratch.kept, scratch.kept + total * headDimVO)
    let keptL = keptM + total
    keptO.update(from: scratch.o, count: total * headDimVO)
    keptM.update(from: scratch.m, count: total)
    keptL.update(from: scratch.l, count: total)
    for repair in repairs {
      // The tile alone takes the first places of all buffers.
      let start = (repair.position - tiles.startIndex) * rows
      if tiles.count > 1 { loadQueries(tiles[repair.position], at: 0, scratch) }
      _ = accumulate(
        tiles[repair.position..<repair.position + 1], next: tiles.prefix(0),
        onlyRow: repair.rows.first.map { $0 - start }, scratch)
      for row in repair.rows {
        let own = row - start
        (keptO + row * headDimVO).update(from: scratch.o + own * headDimVO, count: headDimVO)
        keptM[row] = scratch.m[own]
        keptL[row] = scratch.l[own]
      }
    }
    scratch.o.update(from: keptO, count: total * headDimVO)
    scratch.m.update(from: keptM, count: total)
    scratch.l.update(from: keptL, count: total)
  }

  /// Those queries from which a key of the tile is hidden whose V row or scale is not finite.
  private func hidingNonFinite(
    _ queries: [Int], _ tile: WorkTile, _ scratch: Scratch
  ) -> [Int] {
    let (request, kvHead) = (Int(tile.request), Int(tile.kvHead))
    let (qoLength, kvLength) = (problem.qoLength(request), problem.kvLength(request))
    let widen = kernels.widen(problem.types.kv)
    let values = UnsafeBufferPointer(start: scratch.v, count: headDimVO)
    var (found, left) = ([Int](), queries)
    var start = tile.keys.lowerBound
    while start < tile.keys.upperBound && !left.isEmpty {
      let keys = start..<min(start + Blocking.panelKeys, tile.keys.upperBound)
      start = keys.upperBound
      let order = KeyOrder(keys, lanes: 1)
      if let tokens = scales.vToken {
        loadTokenScales(tokens, request: request, kvHead: kvHead, order: order, scratch)
      }
      loadValueRows(request: request, kvHead: kvHead, order: order, hidden: nil, scratch)
      for (index, key) in keys.enumerated() {
        widen(scratch.vRows[index], scratch.v, headDimVO)
        let isScaleFinite = scales.vToken == nil || scratch.keyScales[index].isFinite
        if isScaleFinite && values.allSatisfy(\.isFinite) { continue }
        left.removeAll { query in
          let isHidden = !problem.mask.allows(
            request: request, query, key, qoLength: qoLength, kvLength: kvLength)
          if isHidden { found.append(query) }
          return isHidden
        }
      }
    }
    return found
  }
}
