internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// A warp's running state of an item, and the step that extends it.
///
/// For row column c: R is the largest x so far less `weightShift`, L the lane's share of Σ 2^(x − R),
/// A = Σ 2^(x − R)·v. A masked score is −∞ and has weight 0.
struct DecodeState {
  /// `[rowTile][band]`: A of dimensions g and g + 8 (FP8: 2g and 2g + 1) in columns 2t, 2t + 1.
  let sums: [[[Variable<F32>]]]
  /// `[rowTile][column]`.
  let references, weights: [[Variable<F32>]]
  let context: DecodeContext
  let tile: DecodeTile
  private let query: DecodeQuery

  var block: Block { context.block }
  var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext, _ tile: DecodeTile, _ query: DecodeQuery) {
    self.context = context
    self.tile = tile
    self.query = query
    let block = context.block
    let kernel = context.kernel
    sums = (0..<kernel.rowTiles).map { _ in
      (0..<kernel.bands).map { _ in (0..<4).map { _ in block.variable(F32.self, "sum") } }
    }
    references = (0..<kernel.rowTiles).map { _ in
      (0..<2).map { _ in block.variable(F32.self, "reference") }
    }
    weights = (0..<kernel.rowTiles).map { _ in
      (0..<2).map { _ in block.variable(F32.self, "weight") }
    }
  }

  /// The state of no keys.
  func clear() {
    for variable in sums.flatMap({ $0 }).flatMap({ $0 }) { block.assign(variable, 0) }
    for variable in references.flatMap({ $0 }) { block.assign(variable, Self.least) }
    for variable in weights.flatMap({ $0 }) { block.assign(variable, 0) }
  }

  /// Below every score, and finite: differences of two of them are 0.
  static let least: Float = -1e30

  /// Adds the tokens of a step.
  ///
  /// - Parameters:
  ///   - stage: address of its K tiles.
  ///   - range: which tokens count.
  func extend(_ stage: Value<U32>, _ range: DecodeRange) {
    block.phase("scores: K Qᵀ")
    let scores = (0..<kernel.tilesPerStep).map { score(stage, $0) }
    if context.parameters.capScale != nil { cap(scores.flatMap { $0 }.flatMap { $0 }) }
    if range.bias != nil { addBias(scores, range) }
    block.phase("mask")
    if range.masksEveryStep {
      for index in 0..<kernel.tilesPerStep { mask(scores[index], index, range) }
      excludeHiddenValues(stage, scores, range)
    }
    block.when(range.cutsStep, .uniform) {
      if !range.masksEveryStep {
        for index in 0..<kernel.tilesPerStep { mask(scores[index], index, range) }
        if kernel.hasRanges { excludeHiddenValues(stage, scores, range) }
      }
      for index in 0..<kernel.tilesPerStep {
        tile.clearValues(stage, bytes: kernel.stageBytes / 2 + index * kernel.tileBytes) { row in
          range.isDead(row + 16 * index)
        }
      }
      orderStores()
    }
    block.phase("softmax")
    for rowTile in 0..<kernel.rowTiles { rescale(rowTile, scores) }
    let weights = scores.map { tileScores in
      (0..<kernel.rowTiles).map { weigh($0, tileScores[$0]) }
    }
    block.phase("sums: Vᵀ Pᵀ")
    for index in 0..<kernel.tilesPerStep {
      let bytes = kernel.stageBytes / 2 + index * kernel.tileBytes
      for pair in 0..<tile.pairs {
        let operands = tile.values(stage, bytes: bytes, pair: pair)
        for (part, operand) in operands.enumerated() {
          for rowTile in 0..<kernel.rowTiles {
            block.mma(
              into: sums[rowTile][pair * operands.count + part], a: operand,
              b: weights[index][rowTile], shape: Op.MMAShape(kernel.productElement))
          }
        }
      }
    }
  }

  /// Makes what the lanes stored visible to all of them, and to the copies that follow.
  func orderStores() {
    if kernel.loader == .tensorMap { block.fence(.proxyAsync(.shared)) }
    block.syncWarp()
  }

  /// Scores of a tile, `[rowTile]`: tokens g and g + 8 in columns 2t, 2t + 1.
  private func score(_ stage: Value<U32>, _ index: Int) -> [[Variable<F32>]] {
    // Two chains hide the latency of products where there is but one tile.
    let chains = kernel.tilesPerStep * kernel.rowTiles == 1 ? 2 : 1
    let results = (0..<kernel.rowTiles).map { _ in
      (0..<chains).map { _ in block.accumulators("score", F32.self, count: 4) }
    }
    var count = 0
    for pair in 0..<tile.pairs {
      for operand in tile.keys(stage, bytes: index * kernel.tileBytes, pair: pair) {
        for rowTile in 0..<kernel.rowTiles {
          block.mma(
            into: results[rowTile][count % chains], a: operand,
            b: query.fragment(rowTile, band: count),
            shape: Op.MMAShape(kernel.productElement))
        }
        count += 1
      }
    }
    return results.map { chains in
      guard chains.count == 2 else { return chains[0] }
      for (a, b) in zip(chains[0], chains[1]) { block.assign(a, a.value + b.value) }
      return chains[0]
    }
  }

  /// tanh x = 1 − 2 / (1 + e^2x); `capScale` holds 2 · log₂e / cap, `scoreScale` cap · log₂e.
  private func cap(_ scores: [Variable<F32>]) {
    for rowTile in 0..<kernel.rowTiles {
      for (index, score) in scores.enumerated() where index / 4 % kernel.rowTiles == rowTile {
        let power = ex2(score.value * query.scales[rowTile][index % 2].value)
        block.assign(score, fma(rcp(power + 1), -2, context.f32(1)))
      }
    }
  }

  /// Makes scores the exponents of 2 that they stand for, with what ALiBi adds.
  private func addBias(_ scores: [[[Variable<F32>]]], _ range: DecodeRange) {
    for (index, tileScores) in scores.enumerated() {
      for (rowTile, registers) in tileScores.enumerated() {
        for (register, score) in registers.enumerated() {
          let token = context.group + (16 * index + register / 2 * 8)
          let column = register % 2
          let factor =
            context.parameters.capScale == nil
            ? query.scales[rowTile][column].value : context.parameters.scoreScale
          block.assign(
            score, range.biased(score.value * factor, token, row: 2 * rowTile + column))
        }
      }
    }
  }

  private func mask(_ scores: [[Variable<F32>]], _ index: Int, _ range: DecodeRange) {
    let hidden = context.f32(-.infinity)
    for (rowTile, tileScores) in scores.enumerated() {
      for (register, score) in tileScores.enumerated() {
        let token = context.group + (16 * index + register / 2 * 8)
        let isVisible = range.isVisible(token, row: 2 * rowTile + register % 2)
        block.assign(score, select(isVisible, score.value, hidden))
      }
    }
  }

  /// Factor that makes a masked, capped or biased score an exponent of 2.
  func scale(_ rowTile: Int, _ column: Int) -> Value<F32> {
    if kernel.hasSlopes { return context.f32(1) }
    return context.parameters.capScale == nil
      ? query.scales[rowTile][column].value : context.parameters.scoreScale
  }

  /// Raises R to the step's largest x, in all lanes of a column alike, and scales L and A to it.
  func rescale(_ rowTile: Int, _ scores: [[[Variable<F32>]]]) {
    for column in 0..<2 {
      let own = scores.flatMap { [$0[rowTile][column].value, $0[rowTile][column + 2].value] }
      var largest = own.dropFirst().reduce(own[0]) { max($0, $1) } * scale(rowTile, column)
      for distance in [4, 8, 16] { largest = max(largest, block.shuffle(largest, xor: distance)) }
      let old = references[rowTile][column].value
      let shifted = kernel.weightShift == 0 ? largest : largest - kernel.weightShift
      let reference = max(old, shifted)
      let factor = ex2(old - reference)
      block.assign(references[rowTile][column], reference)
      block.assign(weights[rowTile][column], weights[rowTile][column].value * factor)
      for band in sums[rowTile] {
        block.assign(band[column], band[column].value * factor)
        block.assign(band[column + 2], band[column + 2].value * factor)
      }
    }
  }

  /// Weights of a tile as B operand of Vᵀ·Pᵀ; adds them to L.
  private func weigh(_ rowTile: Int, _ scores: [Variable<F32>]) -> [Value<U32>] {
    let powers = scores.enumerated().map { register, score in
      ex2(
        fma(
          score.value, scale(rowTile, register % 2), -references[rowTile][register % 2].value))
    }
    for column in 0..<2 {
      let weight = weights[rowTile][column]
      block.assign(weight, weight.value + (powers[column] + powers[column + 2]))
    }
    return [0, 2].map { half in
      let pair: Value<U32> =
        kernel.productElement == .bf16
        ? powers[half].converted(to: BF16x2.self, high: powers[half + 1]).bitcast(to: U32.self)
        : powers[half].converted(to: F16x2.self, high: powers[half + 1]).bitcast(to: U32.self)
      return block.movmatrix(pair)
    }
  }
}
