internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

// Many rows: a block of K and one of V are packed once and pass all rows of the tile.
extension AttentionContext {
  /// The online softmax of one tile over packed panels.
  func accumulatePanels(_ tile: WorkTile, onlyRow: Int?, _ scratch: Scratch) -> Bool {
    let request = Int(tile.request)
    let (qoLength, kvLength) = (problem.qoLength(request), problem.kvLength(request))
    var sawPartial = false
    var start = tile.keys.lowerBound
    while start < tile.keys.upperBound {
      let keys = start..<min(start + Blocking.panelKeys, tile.keys.upperBound)
      start = keys.upperBound
      let status = problem.mask.status(
        queries: queries(tile.rows), keys: keys, qoLength: qoLength, kvLength: kvLength)
      if status == .masked { continue }
      let hidden = onlyRow.map {
        hiddenKeys(row: tile.rows.lowerBound + $0, request: request, keys: keys)
      }
      packValues(tile, keys: keys, hidden: hidden, scratch)
      packKeys(tile, keys: keys, scratch)
      var row = 0
      while row < tile.rows.count {
        let count = min(Blocking.blockRows, tile.rows.count - row)
        let packed = tile.rows.lowerBound + row..<tile.rows.lowerBound + row + count
        let blockStatus =
          status == .full
          ? status
          : problem.mask.status(
            queries: queries(packed), keys: keys, qoLength: qoLength, kvLength: kvLength)
        if blockStatus != .masked {
          sawPartial = sawPartial || blockStatus == .partial
          multiplyKeys(state: row, count: count, keys: keys.count, scratch)
          let block = ScoreBlock(
            rows: packed, state: row, scores: scratch.s, stride: Blocking.panelKeys)
          let isModified = modifyScores(
            block, request: request, kvHead: Int(tile.kvHead), keys: keys,
            isPartial: blockStatus == .partial, scratch)
          softmax(block, keys: keys.count, isScaled: isModified, scratch)
          if let tokens = scales.vToken {
            scaleWeights(
              block, tokens, request: request, kvHead: Int(tile.kvHead),
              order: KeyOrder(keys, lanes: 1), hidden: hidden, scratch)
          }
          multiplyValues(block, keys: keys.count, scratch)
        }
        row += count
      }
    }
    return sawPartial
  }

  /// A panel for each segment, one below the other.
  private func packKeys(_ tile: WorkTile, keys: Range<Int>, _ scratch: Scratch) {
    var depth = 0
    for segment in k {
      packKeys(segment, tile, keys: keys, scratch, at: depth)
      depth += panelDepth(segment)
    }
  }

  /// Rows of a segment's panel.
  private func panelDepth(_ segment: Segment) -> Int {
    dot == nil ? segment.dim : (segment.dim + 1) / 2
  }

  private func packKeys(
    _ segment: Segment, _ tile: WorkTile, keys: Range<Int>, _ scratch: Scratch, at depth: Int
  ) {
    let panel = Blocking.panelKeys
    let count = Int32(keys.count)
    segment.rows.fill(
      keyMap, request: Int(tile.request), head: Int(tile.kvHead), keys: keys,
      into: scratch.kRows)
    let target = scratch.kPacked + depth * panel
    if let dot {
      target.withMemoryRebound(to: UInt32.self, capacity: panelDepth(segment) * panel) {
        dot.packKeys(problem.types.kv)(scratch.kRows, count, Int32(segment.dim), $0, panel)
      }
      return
    }
    var type = problem.types.kv
    if let rope = problem.modification.rope {
      loadRotatedKeys(rope, keys: keys, scratch)
      for key in 0..<keys.count {
        scratch.kRows[key] = UnsafeRawPointer(scratch.k + key * headDimQK)
      }
      type = .f32
    }
    kernels.packTransposed(type)(
      scratch.kRows, count, count, Int32(segment.dim), target, panel)
  }

  private func packValues(
    _ tile: WorkTile, keys: Range<Int>, hidden: [Bool]?, _ scratch: Scratch
  ) {
    loadValueRows(
      request: Int(tile.request), kvHead: Int(tile.kvHead), order: KeyOrder(keys, lanes: 1),
      hidden: hidden, scratch)
    let type = problem.types.kv
    if let dot {
      let pairs = (keys.count + 1) / 2
      scratch.v.withMemoryRebound(to: UInt32.self, capacity: pairs * headDimVO) {
        dot.packValues(type)(
          scratch.vRows, Int32(keys.count), Int32(headDimVO), $0, headDimVO)
      }
    } else {
      let widen = kernels.widen(type)
      for key in 0..<keys.count {
        widen(scratch.vRows[key], scratch.v + key * headDimVO, headDimVO)
      }
    }
  }

  /// S = Q·Kᵀ of the rows from `state` on.
  private func multiplyKeys(state: Int, count: Int, keys: Int, _ scratch: Scratch) {
    let panel = Blocking.panelKeys
    var depth = 0
    for (index, segment) in k.enumerated() {
      let accumulate: Int32 = index == 0 ? 0 : 1
      let target = scratch.kPacked + depth * panel
      let rows = panelDepth(segment)
      if let dot {
        target.withMemoryRebound(to: UInt32.self, capacity: rows * panel) {
          dot.gemm(
            packedQueries(segment, state: state, scratch), segment.packedStride, Int32(count), $0,
            panel, Int32(keys), Int32(rows), scratch.s, panel, accumulate)
        }
      } else {
        kernels.gemm(
          scratch.q + state * headDimQK + segment.qOffset, headDimQK, Int32(count), target, panel,
          Int32(keys), Int32(rows), scratch.s, panel, accumulate)
      }
      depth += rows
    }
  }

  /// O += P·V.
  private func multiplyValues(_ block: ScoreBlock, keys: Int, _ scratch: Scratch) {
    let o = scratch.o + block.state * headDimVO
    if let dot {
      roundWeights(block, keys: keys, dot, scratch)
      let pairs = (keys + 1) / 2
      scratch.v.withMemoryRebound(to: UInt32.self, capacity: pairs * headDimVO) {
        dot.gemm(
          scratch.p, block.stride, Int32(block.rows.count), $0, headDimVO, Int32(headDimVO),
          Int32(pairs), o, headDimVO, 1)
      }
    } else {
      kernels.gemm(
        block.scores, block.stride, Int32(block.rows.count), scratch.v, headDimVO,
        Int32(headDimVO), Int32(keys), o, headDimVO, 1)
    }
  }
}
