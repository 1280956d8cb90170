internal import ApusDSL
internal import ApusIR

/// What the producer writes beside the queries.
struct PrefillWork {
  /// First query row of the block.
  let row: Value<U32>
  /// Query head.
  let head: Value<U32>
  /// Request.
  let request: Value<U32>
  /// Key tiles to visit; 0 ends the work.
  let keyTiles: Value<U32>
}

/// Warpgroups of 64 query rows each: S = QKᵀ, P = softmax(S), O += P·V.
///
/// The loop is pipelined by one key tile: the product for the scores of the next tile is issued
/// before P·V of this one, so that the softmax of the next runs while P·V multiplies.
struct PrefillConsumer<Element: MatrixScalar> {
  let block: Block
  let configuration: DensePrefillConfiguration
  let parameters: PrefillParameters<Element>
  let shared: PrefillSharedMemory<Element>

  /// 0… among the consumer warpgroups.
  let warpgroup: Value<U32>
  /// S, then P before its conversion.
  private let scores: RegisterTile
  /// O before its division by the row sums.
  let output: RegisterTile
  /// P as operand of P·V, 4 registers per 16 keys.
  private let weights: [Variable<Element.Pair>]
  private let softmax: OnlineSoftmax
  private let queryOperand: OperandSteps
  private let keyOperand: OperandSteps
  private let valueOperand: OperandSteps
  private let turns: NamedBarrierSet?
  private let cursor: PipelineCursor
  /// Keeps the warps of a warpgroup together around its output tile.
  let outputBarrier: NamedBarrierSet?

  init(
    _ block: Block, _ configuration: DensePrefillConfiguration,
    _ parameters: PrefillParameters<Element>, _ shared: PrefillSharedMemory<Element>
  ) {
    self.block = block
    self.configuration = configuration
    self.parameters = parameters
    self.shared = shared
    warpgroup = (block.warpIndex >> 2) - 1
    scores = block.registerTile("s", rows: 16, columns: configuration.tileKV)
    output = block.registerTile("o", rows: 16, columns: configuration.headDim)
    weights = (0..<configuration.tileKV / 4).map { _ in block.variable(Element.Pair.self, "p") }
    softmax = OnlineSoftmax(
      block, laneRows: 2, scale: parameters.scale, isLazy: configuration.lazyRescale)
    queryOperand = OperandSteps(block, shared.queries, .k)
      .advanced(by: warpgroup, times: 64 * shared.queries.rowBytes)
    keyOperand = OperandSteps(block, shared.keys.first, .k)
    valueOperand = OperandSteps(block, shared.values.first, .mn)
    turns =
      configuration.pingPong
      ? block.namedBarrier(
        "turn", count: configuration.consumerCount, threads: 2 * warpgroupSize) : nil
    outputBarrier =
      shared.output == nil
      ? nil
      : block.namedBarrier(
        "outputTile", count: configuration.consumerCount, threads: warpgroupSize)
    cursor = PipelineCursor(block, stages: configuration.stages)
  }

  /// The role's code.
  func run() {
    if let turns {
      // The first turn is the first warpgroup's; each later one is passed on by the one before.
      block.when(warpgroup == configuration.consumerCount - 1, .uniform) {
        block.arrive(turns[block.constant(0, as: U32.self)])
      }
    }
    let turn = block.variable(0, as: U32.self, "turn")
    block.loop {
      let work = takeWork(turn.value)
      block.breakIf(work.keyTiles == 0)
      attend(work)
      block.assign(turn, turn.value + 1)
    }
    drainOutput()
  }

  // MARK: - Work

  private func takeWork(_ turn: Value<U32>) -> PrefillWork {
    block.phase("take a tile")
    block.wait(shared.queriesFull[0], parity: turn & 1)
    let work = block.load(shared.work.pointer, count: 4)
    return PrefillWork(row: work[0], head: work[1], request: work[2], keyTiles: work[3])
  }

  /// One tile of queries against all its keys.
  private func attend(_ work: PrefillWork) {
    let queries = configuration.queriesInRegisters ? loadQueries() : []
    if configuration.queriesInRegisters { releaseQueries() }

    block.phase("first key tile: S = Q·K; P = softmax S")
    let first = cursor.position
    block.wait(shared.keyRing.full[first.stage], parity: first.parity)
    issueScores(queries, first)
    block.wgmmaCommit()
    block.wgmmaWait()
    release(shared.keyRing, first)
    let left = block.variable(work.keyTiles, "left")
    mask(work, left.value)
    softmax.start(block, scores)
    convertWeights()
    for row in 0..<output.laneRows {
      for element in output.row(row) { block.assign(element.variable, 0) }
    }
    block.assign(left, left.value - 1)

    if configuration.isCausal {
      block.phase("key tiles on the diagonal")
      let visible = fullKeyTiles(work)
      block.repeatWhile({ left.value > visible }) { step(work, left, queries, isMasked: true) }
    }
    block.phase("key tiles that every row sees")
    block.repeatWhile({ left.value > 0 }) { step(work, left, queries, isMasked: false) }

    block.phase("last key tile: O += P·V")
    if !configuration.queriesInRegisters { releaseQueries() }
    let last = cursor.position
    block.wait(shared.valueRing.full[last.stage], parity: last.parity)
    issueOutput(last)
    block.wgmmaCommit()
    let statistics = softmax.finish(block)
    block.wgmmaWait()
    release(shared.valueRing, last)
    cursor.move(to: last.next, block)
    store(work, statistics)
  }

  /// Scores and weights of the next key tile while O += P·V of this one multiplies.
  private func step(
    _ work: PrefillWork, _ left: Variable<U32>, _ queries: [[Value<Element.Pair>]], isMasked: Bool
  ) {
    let here = cursor.position
    let next = here.next
    block.wait(shared.keyRing.full[next.stage], parity: next.parity)
    if let turns { block.sync(turns[warpgroup]) }
    issueScores(queries, next)
    let scoresGroup = block.wgmmaCommit()
    block.wait(shared.valueRing.full[here.stage], parity: here.parity)
    issueOutput(here)
    let outputGroup = block.wgmmaCommit()
    if let turns { block.arrive(turns[nextWarpgroup]) }

    block.wait(scoresGroup)
    release(shared.keyRing, next)
    if isMasked { maskDiagonal(work, left.value) }
    let factors = softmax.update(block, scores)
    pinSoftmax()
    block.wait(outputGroup)
    release(shared.valueRing, here)
    convertWeights()
    rescale(factors)
    cursor.move(to: next, block)
    block.assign(left, left.value - 1)
  }

  /// Holds part of the softmax before the wait that follows.
  private func pinSoftmax() {
    let values: [Value<F32>]
    switch configuration.pinnedSoftmax {
    case .none: return
    case .maxima: values = softmax.currentMaxima
    case .weights: values = softmax.currentSums
    }
    block.pin(
      values, scratch: shared.work.pointer.cast(to: F32.self), never: parameters.headCount == 0)
  }

  private var nextWarpgroup: Value<U32> {
    if configuration.consumerCount == 2 { return warpgroup ^ 1 }
    let next = warpgroup + 1
    return select(
      next == configuration.consumerCount, block.constant(0, as: U32.self), next)
  }

  // MARK: - Queries

  private func loadQueries() -> [[Value<Element.Pair>]] {
    (0..<configuration.headDim / 16).map { step in
      block.fragmentA(
        shared.queries, row: warpRow, k: block.constant(16 * step, as: U32.self),
        as: Element.Pair.self)
    }
  }

  private func releaseQueries() {
    // The first lane arrives for the warp: all lanes have read the queries and the work by then.
    block.syncWarp()
    block.when(block.laneIndex == 0, .predicated) { block.arrive(shared.queriesEmpty[0]) }
  }

  // MARK: - Products

  private func issueScores(_ queries: [[Value<Element.Pair>]], _ position: PipelinePosition) {
    let keys = keyOperand.advanced(by: position.stage, times: shared.keys.first.byteCount)
    block.wgmmaFence()
    for step in 0..<configuration.headDim / 16 {
      let a: WarpgroupOperand<Element.Pair> =
        queries.isEmpty ? .shared(queryOperand[step]) : .registers(queries[step])
      block.wgmma(
        into: scores, a: a, b: keys[step], element: Element.Pair.element,
        accumulates: block.constant(step > 0))
    }
  }

  private func issueOutput(_ position: PipelinePosition) {
    let values = valueOperand.advanced(by: position.stage, times: shared.values.first.byteCount)
    block.wgmmaFence()
    for step in 0..<configuration.tileKV / 16 {
      block.wgmma(
        into: output, a: .variables(Array(weights[4 * step..<4 * step + 4])), b: values[step],
        element: Element.Pair.element, transposesB: true)
    }
  }

  /// Hands a stage back, to both blocks of a cluster: lane i arrives at block i.
  private func release(_ ring: StageRing, _ position: PipelinePosition) {
    let lane = block.laneIndex
    let empty = ring.empty[position.stage]
    if configuration.clusterSize == 1 {
      block.when(lane == 0, .predicated) { block.arrive(empty) }
    } else {
      block.when(lane < block.constant(configuration.clusterSize, as: U32.self), .predicated) {
        block.arrive(empty.mapped(toRank: lane))
      }
    }
  }

  /// P in the type of V, as A operand: the same elements in the same lanes.
  private func convertWeights() {
    for step in 0..<configuration.tileKV / 16 {
      let registers = block.operandA(scores, column: 16 * step, as: Element.Pair.self)
      for (index, value) in registers.enumerated() {
        block.assign(weights[4 * step + index], value)
      }
    }
  }

  /// O = f · O; with the lazy rule in few steps, and then for the whole warp.
  private func rescale(_ factors: [Value<F32>]) {
    func scaleAll() { block.update(output) { value, row, _ in value * factors[row] } }
    guard configuration.lazyRescale else { return scaleAll() }
    let isUnchanged = block.all((factors[0] == 1) & (factors[1] == 1))
    block.when(!isUnchanged, .uniform) { scaleAll() }
  }

  // MARK: - Mask

  /// Key tiles that every row of the warpgroup sees whole: those that end by its first row's last
  /// key, kvLength − qoLength + row.
  private func fullKeyTiles(_ work: PrefillWork) -> Value<U32> {
    let sum = work.row + warpgroup * 64 + parameters.kvLength + 1
    let keys = select(
      sum > parameters.qoLength, sum - parameters.qoLength, block.constant(0, as: U32.self))
    return block.let(keys / configuration.tileKV)
  }

  /// Masks the first visited tile: the diagonal, or the end of the keys.
  private func mask(_ work: PrefillWork, _ left: Value<U32>) {
    if configuration.isCausal { return maskDiagonal(work, left) }
    block.when(left * configuration.tileKV > parameters.kvLength, .uniform) {
      let last = parameters.kvLength - 1 - firstColumn(left)
      maskColumns([last.signed, last.signed])
    }
  }

  /// Row i sees keys up to kvLength − qoLength + i; for rows below qoLength that is within the keys.
  private func maskDiagonal(_ work: PrefillWork, _ left: Value<U32>) {
    let row = work.row + rowInTile
    let last = row + parameters.kvLength - parameters.qoLength - firstColumn(left)
    maskColumns((0..<2).map { (last + scores.rowOffset($0)).signed })
  }

  /// The lane's first key of the key tile that is visited with `left` to go.
  private func firstColumn(_ left: Value<U32>) -> Value<U32> {
    (left - 1) * configuration.tileKV + block.laneColumn
  }

  /// The warp's first row within the block's rows.
  var warpRow: Value<U32> { warpgroup * 64 + (block.warpIndex & 3) * 16 }

  /// The lane's first row within the block's rows.
  var rowInTile: Value<U32> { warpRow + block.laneRow }

  /// Scores beyond each row's last column become −∞.
  private func maskColumns(_ last: [Value<S32>]) {
    let hidden = block.constant(-.infinity, as: F32.self)
    block.update(scores) { value, row, column in
      select(last[row] >= column, value, hidden)
    }
  }
}
