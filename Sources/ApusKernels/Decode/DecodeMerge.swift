internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// (R, L, A) of 4 neighbouring dimensions of a row: Σ w·v = A, Σ w = L, w = 2^(x − R).
struct DecodePiece {
  let reference, weight: Value<F32>
  let sums: [Value<F32>]

  /// States of disjoint keys combined, in order; a missing one has L = 0 and weight 0 at any R.
  static func merged(_ pieces: [DecodePiece]) -> DecodePiece {
    guard let first = pieces.first, pieces.count > 1 else { return pieces[0] }
    let reference = pieces.dropFirst().reduce(first.reference) { max($0, $1.reference) }
    let factor = ex2(first.reference - reference)
    var weight = first.weight * factor
    var sums = first.sums.map { $0 * factor }
    for piece in pieces.dropFirst() {
      let factor = ex2(piece.reference - reference)
      weight = fma(piece.weight, factor, weight)
      sums = zip(piece.sums, sums).map { fma($0, factor, $1) }
    }
    return DecodePiece(reference: reference, weight: weight, sums: sums)
  }
}

/// A piece that grows; at first that of no keys.
private struct MergeVariables {
  private let block: Block
  private let reference, weight: Variable<F32>
  private let sums: [Variable<F32>]

  init(_ context: DecodeContext) {
    block = context.block
    reference = context.block.variable(DecodeState.least, as: F32.self)
    weight = context.block.variable(0, as: F32.self)
    sums = (0..<4).map { _ in context.block.variable(0, as: F32.self) }
  }

  var piece: DecodePiece {
    DecodePiece(reference: reference.value, weight: weight.value, sums: sums.map(\.value))
  }

  func assign(_ piece: DecodePiece) {
    block.assign(reference, piece.reference)
    block.assign(weight, piece.weight)
    for (variable, value) in zip(sums, piece.sums) { block.assign(variable, value) }
  }
}

/// What follows the steps of an item: the warps' states merge in shared memory, splits in device
/// memory by whoever is done last, in the order of the splits.
///
/// In tokens mode the block's threads share the pieces of 4 dimensions of its rows; in heads mode
/// each warp has rows, partial states and counters of its own and needs no barrier of the block.
struct DecodeMerge {
  let context: DecodeContext
  /// `[warp][row]`: A, `mergePitch` floats apart, and (R, L). Merging splits, `[team][row]`.
  private let sums, weights: SharedArray<F32>
  private let done: SharedArray<U32>
  private let inbox: DecodeInbox?

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  private var isByWarp: Bool { kernel.mode == .heads }
  /// Threads that share the pieces, and this one among them.
  private var workers: Int { isByWarp ? warpSize : kernel.warps * warpSize }
  private var worker: Value<U32> { isByWarp ? context.lane : block.threadIndex }
  private var piecesPerRow: Int { kernel.headDim / 4 }

  init(_ context: DecodeContext, _ inbox: DecodeInbox?) {
    self.context = context
    self.inbox = inbox
    let kernel = context.kernel
    sums = context.block.shared(
      "mergeSums", F32.self, count: kernel.warps * 8 * kernel.mergePitch)
    weights = context.block.shared("mergeWeights", F32.self, count: kernel.warps * 8 * 2)
    done = context.block.shared("done", U32.self, count: 4)
  }

  private func sync() { isByWarp ? block.syncWarp() : block.syncThreads() }

  /// Merges, and writes o and lse or a partial state.
  func finish(_ item: DecodeItemValues, _ unit: any DecodeUnit) {
    let codeScale = unit.codeScale
    block.phase("merge the warps")
    unit.settle()
    if let inbox {
      unit.publish(item, 0, sums: sums, weights: weights)
      sync()
      inbox.open()
      forEachPiece(item, 0) { row, dimension in
        inbox.push(gather(row, dimension), row * piecesPerRow + (dimension >> 2))
      }
      inbox.collect(pieceCount(item, 0)) { merged, piece in
        let row = piece / piecesPerRow
        write(merged, item, row, (piece - row * piecesPerRow) << 2, codeScale)
      }
      return
    }
    let isWhole = item.splits == 1
    for rowTile in 0..<kernel.rowTiles {
      if rowTile > 0 { sync() }
      unit.publish(item, rowTile, sums: sums, weights: weights)
      sync()
      forEachPiece(item, rowTile) { row, dimension in
        let merged = gather(row, dimension)
        let itemRow = row + 8 * rowTile
        block.when(
          isWhole, .uniform, { write(merged, item, itemRow, dimension, codeScale) },
          otherwise: {
            let place = partial(item, item.slot + item.split, itemRow)
            store(merged, place, dimension)
          })
      }
    }
    block.when(!isWhole, .uniform) { finishSplits(item, codeScale) }
  }

  /// Calls `body` with row (0…7) and first dimension of each of this thread's pieces.
  private func forEachPiece(
    _ item: DecodeItemValues, _ rowTile: Int,
    _ body: (_ row: Value<U32>, _ dimension: Value<U32>) -> Void
  ) {
    let pieces = pieceCount(item, rowTile)
    block.loop(from: worker, to: pieces, step: workers, form: .rolled, name: "piece") { piece in
      let row = piece / piecesPerRow
      body(row, (piece - row * piecesPerRow) << 2)
    }
  }

  /// Pieces of the rows of a row tile.
  private func pieceCount(_ item: DecodeItemValues, _ rowTile: Int) -> Value<U32> {
    rowCount(item, rowTile) * piecesPerRow
  }

  private func rowCount(_ item: DecodeItemValues, _ rowTile: Int) -> Value<U32> {
    min(item.rowCount - min(item.rowCount, context.u32(8 * rowTile)), context.u32(8))
  }

  /// A piece of all warps' states, or of this warp's.
  private func gather(_ row: Value<U32>, _ dimension: Value<U32>) -> DecodePiece {
    let first = isByWarp ? context.warp * 8 + row : row
    let sumsStart = sums[first * kernel.mergePitch + dimension]
    let weightsStart = weights[first << 1]
    return DecodePiece.merged(
      (0..<(isByWarp ? 1 : kernel.warps)).map { warp in
        let weight = block.load(weightsStart[16 * warp], count: 2)
        return DecodePiece(
          reference: weight[0], weight: weight[1],
          sums: block.load(sumsStart[8 * kernel.mergePitch * warp], count: 4))
      })
  }

  // MARK: - Splits

  /// Row of the partial states: `[slot][warp in heads mode][row]`.
  private func partial(
    _ item: DecodeItemValues, _ slot: Value<U32>, _ row: Value<U32>
  ) -> Value<U32> {
    let owner = isByWarp ? slot * kernel.warps + context.warp : slot
    return owner * kernel.rows + row
  }

  private func store(_ piece: DecodePiece, _ row: Value<U32>, _ dimension: Value<U32>) {
    let target = context.parameters.partials[row.multipliedWide(by: context.u32(kernel.headDim))]
    block.store(piece.sums, to: target[dimension])
    block.when(dimension == 0) {
      block.store([piece.reference, piece.weight], to: context.parameters.sums[row << 1])
    }
  }

  /// Counts this split; the last one merges all.
  private func finishSplits(_ item: DecodeItemValues, _ codeScale: Float) {
    block.phase("merge the splits")
    let counters = context.parameters.counters
    let counter =
      isByWarp ? counters[item.counter * kernel.warps + context.warp] : counters[item.counter]
    sync()
    let isFirst = worker == 0
    let before = block.variable(0, as: U32.self, "before")
    block.when(isFirst) {
      block.assign(
        before,
        block.atomic(.add, counter, context.u32(1), ordering: .acquireRelease, scope: .gpu))
      if !isByWarp { block.store(before.value, to: done[0]) }
    }
    var count: Value<U32>
    if isByWarp {
      count = block.shuffle(before.value, from: context.u32(0))
      block.syncWarp()
    } else {
      block.syncThreads()
      count = block.load(done[0])
    }
    block.when(count == item.splits - 1, .uniform) {
      // The next launch counts from 0 again.
      block.when(isFirst) { block.store(context.u32(0), to: counter) }
      for rowTile in 0..<kernel.rowTiles {
        // Teams need threads for 8 rows.
        if isByWarp || workers / piecesPerRow < 8 {
          mergeInTurn(item, rowTile, codeScale)
        } else {
          mergeByTeams(item, rowTile, codeScale)
        }
      }
    }
  }

  /// Merges all splits of a row tile, four pieces of each thread at a time.
  private func mergeInTurn(_ item: DecodeItemValues, _ rowTile: Int, _ codeScale: Float) {
    let pieces = pieceCount(item, rowTile)
    block.loop(
      from: context.u32(0), to: pieces, step: 4 * workers, form: .rolled, name: "piece"
    ) { first in
      let places = (0..<4).map { index in
        let piece = min(first + worker + index * workers, pieces - 1)
        let row = piece / piecesPerRow
        return (row + 8 * rowTile, (piece - row * piecesPerRow) << 2)
      }
      let merged = mergeSplits(
        item, places, first: context.u32(0), stride: context.u32(1), inFlight: 2)
      for (index, (place, piece)) in zip(places, merged).enumerated() {
        block.when(first + worker + index * workers < pieces) {
          write(piece, item, place.0, place.1, codeScale)
        }
      }
    }
  }

  /// Merges all splits of a row tile by the whole block.
  ///
  /// As many threads as the rows (rounded up to 1, 2, 4 or 8) have pieces are a team; teams take
  /// splits in turn, and the first one merges what all have found, in order.
  private func mergeByTeams(_ item: DecodeItemValues, _ rowTile: Int, _ codeScale: Float) {
    let rows = rowCount(item, rowTile)
    // ⌈log₂ rows⌉.
    let shift = context.u32(32) - (max(rows, context.u32(1)) - 1).leadingZeroCount
    let piece = worker / piecesPerRow
    let dimension = (worker - piece * piecesPerRow) << 2
    let row = piece & (context.u32(1).shifted(left: shift) - 1)
    let team = piece.shifted(right: shift)
    let teams = min(
      context.u32(workers / piecesPerRow).shifted(right: shift), context.u32(kernel.warps))
    if rowTile > 0 { sync() }
    block.when((row < rows) & (team < teams)) {
      let merged = mergeSplits(
        item, [(row + 8 * rowTile, dimension)], first: team, stride: teams,
        inFlight: Self.splitsInFlight)[0]
      let place = team * 8 + row
      block.store(merged.sums, to: sums[place * kernel.mergePitch + dimension])
      block.when(dimension == 0) {
        block.store([merged.reference, merged.weight], to: weights[place << 1])
      }
    }
    sync()
    block.when((row < rows) & (team == 0)) {
      let merged = mergeTeams(row, dimension, teams)
      write(merged, item, row + 8 * rowTile, dimension, codeScale)
    }
  }

  /// The teams' states of a piece, in order.
  private func mergeTeams(
    _ row: Value<U32>, _ dimension: Value<U32>, _ teams: Value<U32>
  ) -> DecodePiece {
    let state = MergeVariables(context)
    block.loop(from: context.u32(0), to: teams, form: .rolled, name: "team") { team in
      let place = team * 8 + row
      let weight = block.load(weights[place << 1], count: 2)
      let own = DecodePiece(
        reference: weight[0], weight: weight[1],
        sums: block.load(sums[place * kernel.mergePitch + dimension], count: 4))
      state.assign(DecodePiece.merged([state.piece, own]))
    }
    return state.piece
  }

  /// Splits whose loads are in flight together.
  private static let splitsInFlight = 8

  /// The splits `first`, `first + stride`, … of pieces (row and dimension), in order.
  ///
  /// - Parameter inFlight: splits of each piece whose loads are in flight together.
  private func mergeSplits(
    _ item: DecodeItemValues, _ pieces: [(row: Value<U32>, dimension: Value<U32>)],
    first: Value<U32>, stride: Value<U32>, inFlight: Int
  ) -> [DecodePiece] {
    let states = pieces.map { _ in MergeVariables(context) }
    let last = item.splits - 1
    block.loop(
      from: first, to: item.splits, step: stride * inFlight, form: .rolled, name: "split"
    ) { split in
      let splits = (0..<inFlight).map { split + stride * $0 }
      let found = pieces.map { place in
        splits.map { load(item, min($0, last), place.row, place.dimension) }
      }
      for (state, found) in zip(states, found) {
        let own = zip(splits, found).map { split, piece in
          // Past the end: a state of no keys.
          let exists = split < item.splits
          return DecodePiece(
            reference: select(exists, piece.reference, context.f32(DecodeState.least)),
            weight: select(exists, piece.weight, context.f32(0)),
            sums: piece.sums.map { select(exists, $0, context.f32(0)) })
        }
        state.assign(DecodePiece.merged([state.piece] + own))
      }
    }
    return states.map(\.piece)
  }

  /// A piece of a split's partial state.
  private func load(
    _ item: DecodeItemValues, _ split: Value<U32>, _ row: Value<U32>, _ dimension: Value<U32>
  ) -> DecodePiece {
    // Written by other multiprocessors during this launch: read at L2.
    let fresh = Caching(ordering: .relaxed(.gpu))
    let place = partial(item, item.slot + split, row)
    let start = context.parameters.partials[
      place.multipliedWide(by: context.u32(kernel.headDim))]
    let values = block.load(start[dimension], count: 4, fresh)
    let pair = block.load(context.parameters.sums[place << 1], count: 2, fresh)
    return DecodePiece(reference: pair[0], weight: pair[1], sums: values)
  }

  // MARK: - Output

  /// o = A / (L + sink) · v's scale ÷ o's, and lse = R + log₂ L in the unit asked for.
  private func write(
    _ piece: DecodePiece, _ item: DecodeItemValues, _ row: Value<U32>, _ dimension: Value<U32>,
    _ codeScale: Float
  ) {
    let parameters = context.parameters
    let (query, member) = context.place(item, row: row)
    let keyHead = context.keyHead(item)
    let head = keyHead * parameters.group + member
    let isEmpty = piece.weight == 0
    var denominator = piece.weight
    if let sinks = parameters.sinks {
      let sink = block.load(sinks[head]) * Self.log2e
      denominator = denominator + ex2(sink - piece.reference)
    }
    var factor = rcp(denominator) * parameters.outputScale
    if codeScale != 1 { factor = factor * codeScale }
    if let valueScales = parameters.valueScales, let outputScales = parameters.outputScales {
      let scale = block.variable(factor)
      block.when(valueScales.address != 0, .uniform) {
        block.assign(scale, scale.value * block.load(valueScales[keyHead]))
      }
      block.when(outputScales.address != 0, .uniform) {
        block.assign(scale, scale.value * rcp(block.load(outputScales[head])))
      }
      factor = scale.value
    }
    factor = select(isEmpty, context.f32(0), factor)
    let outputRow = item.queryRow + query
    let target = parameters.output[
      outputRow.multipliedWide(by: parameters.outputRow)
        + head.multipliedWide(by: parameters.outputHead)]
    let words = block.narrow(piece.sums.map { $0 * factor }, kernel.outputType)
    block.store(words, to: target[kernel.outputType == .f32 ? dimension : dimension >> 1])
    block.when((dimension == 0) & (parameters.lse.address != 0)) {
      let value = (lg2(piece.weight) + piece.reference) * parameters.lseScale
      let place = parameters.lse[
        outputRow.multipliedWide(by: parameters.lseRow)
          + head.multipliedWide(by: parameters.lseHead)]
      block.store(select(isEmpty, parameters.lseEmpty, value), to: place)
    }
  }

  private static let log2e: Float = 1.442_695_04
}
