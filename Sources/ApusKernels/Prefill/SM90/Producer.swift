internal import ApusDSL
internal import ApusIR

/// One thread that keeps the rings of K and V full and brings each tile's queries.
struct PrefillProducer<Element: MatrixScalar> {
  private let block: Block
  private let configuration: DensePrefillConfiguration
  private let parameters: PrefillParameters<Element>
  private let shared: PrefillSharedMemory<Element>
  private let scheduler: PrefillScheduler<Element>

  init(
    _ block: Block, _ configuration: DensePrefillConfiguration,
    _ parameters: PrefillParameters<Element>, _ shared: PrefillSharedMemory<Element>
  ) {
    self.block = block
    self.configuration = configuration
    self.parameters = parameters
    self.shared = shared
    scheduler = PrefillScheduler(block, configuration, parameters, shared)
  }

  /// The role's code.
  func run() {
    block.when(block.warpIndex == 0, .uniform) {
      block.when(block.electOne()) {
        prefetchMaps()
        produce()
      }
    }
  }

  private func prefetchMaps() {
    block.prefetch(parameters.queries)
    block.prefetch(parameters.keys)
    block.prefetch(parameters.values)
    if case .map(let map) = parameters.output { block.prefetch(map) }
  }

  private func produce() {
    let cursor = PipelineCursor(block, stages: configuration.stages)
    let number = block.variable(scheduler.first, "tile")
    // Counts tiles as a position in the slots of fetched numbers.
    let turns = PipelineCursor(block, stages: shared.fetched?.arrived.count ?? 2)
    block.loop(while: { number.value < parameters.tileCount }) {
      block.phase("load a tile")
      let turn = turns.position
      let request = scheduler.request(after: number.value, turn: turn)
      let tile = scheduler.tile(number.value)
      let left = block.variable(tile.keyTiles - 1, "left")
      // Queries that go to registers are free again early; others only when the tile is through,
      // and the first K must not wait for that.
      if configuration.queriesInRegisters { loadQueries(tile, turn: turn) }
      loadKeys(tile, number: left.value, at: cursor.position)
      if !configuration.queriesInRegisters { loadQueries(tile, turn: turn) }

      // K runs one key tile ahead of V, as the consumers' products do.
      block.repeatWhile({ left.value > 0 }) {
        let here = cursor.position
        let next = here.next
        let number = block.let(left.value)
        loadKeys(tile, number: number - 1, at: next)
        loadValues(tile, number: number, at: here)
        block.assign(left, number - 1)
        cursor.move(to: next, block)
      }
      let last = cursor.position
      loadValues(tile, number: block.constant(0, as: U32.self), at: last)
      cursor.move(to: last.next, block)
      turns.move(to: turn.next, block)
      block.assign(number, scheduler.number(of: request))
    }
    finish(turn: turns.position)
  }

  /// Work without key tiles tells the consumers to stop.
  private func finish(turn: PipelinePosition) {
    waitForQueries(turn)
    let zero = block.constant(0, as: U32.self)
    block.store([zero, zero, zero, zero], to: shared.work.pointer)
    block.arrive(shared.queriesFull[0])
  }

  /// There is one buffer for queries and work: the slots are even in number, so that the slot's
  /// parity is the turn's.
  private func waitForQueries(_ turn: PipelinePosition) {
    block.wait(shared.queriesEmpty[0], parity: turn.stage & 1 ^ 1)
  }

  private func loadQueries(_ tile: PrefillTile, turn: PipelinePosition) {
    waitForQueries(turn)
    block.store([tile.row, tile.head, tile.request, tile.keyTiles], to: shared.work.pointer)
    block.arrive(shared.queriesFull[0], expecting: shared.queries.transactionBytes)
    let zero = block.constant(0, as: S32.self)
    block.loadTensor(
      parameters.queries,
      at: [zero, tile.row.signed, zero, tile.head.signed, tile.request.signed],
      to: shared.queries[0, 0], signalling: shared.queriesFull[0])
  }

  private func loadKeys(_ tile: PrefillTile, number: Value<U32>, at position: PipelinePosition) {
    load(parameters.keys, into: shared.keys, shared.keyRing, tile, number: number, at: position)
  }

  private func loadValues(_ tile: PrefillTile, number: Value<U32>, at position: PipelinePosition) {
    load(
      parameters.values, into: shared.values, shared.valueRing, tile, number: number, at: position)
  }

  /// Key tile `number` of K or V; of a cluster each block brings half of it to both.
  private func load(
    _ map: TensorMapParameter, into tiles: SharedTiles<Element>, _ ring: StageRing,
    _ tile: PrefillTile, number: Value<U32>, at position: PipelinePosition
  ) {
    let row = number * configuration.tileKV
    let empty = ring.empty[position.stage]
    let full = ring.full[position.stage]
    let stage = tiles[position.stage]
    let zero = block.constant(0, as: S32.self)
    block.wait(empty, parity: position.parity ^ 1)
    block.arrive(full, expecting: stage.transactionBytes)
    guard let rank = scheduler.rank else {
      block.loadTensor(
        map, at: [zero, row.signed, zero, tile.kvHead.signed, tile.request.signed],
        to: stage[0, 0], signalling: full)
      return
    }
    let both = block.constant(3, as: U32.self).converted(to: U16.self)
    let half = stage[0, 0][rank * (stage.byteCount / configuration.clusterSize / 2)]
    if configuration.splitsPanels {
      block.loadTensor(
        map, at: [zero, row.signed, rank.signed, tile.kvHead.signed, tile.request.signed],
        to: half, signalling: full, blocks: both)
    } else {
      let ownRow = row + rank * (configuration.tileKV / configuration.clusterSize)
      block.loadTensor(
        map, at: [zero, ownRow.signed, zero, tile.kvHead.signed, tile.request.signed],
        to: half, signalling: full, blocks: both)
    }
  }
}

extension Value where T == U32 {
  /// The same bits as a signed number, as tensor coordinates and differences want them.
  var signed: Value<S32> { bitcast(to: S32.self) }
}
