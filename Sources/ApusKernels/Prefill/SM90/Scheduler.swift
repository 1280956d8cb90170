internal import ApusDSL
internal import ApusIR

/// What a block works on next.
struct PrefillTile {
  /// First query row of the block.
  let row: Value<U32>
  /// Query head.
  let head: Value<U32>
  /// KV head.
  let kvHead: Value<U32>
  /// Request.
  let request: Value<U32>
  /// Key tiles to visit, from the last to the first; at least 1.
  let keyTiles: Value<U32>
}

/// Numbers tiles and hands them out.
///
/// Full attention counts rows fastest, so that neighbouring blocks share K and V in L2. Under a
/// causal mask tiles take unequal time: heads form groups whose K and V fit the L2, and within a
/// group the longest rows go first, over all its heads, so that short ones fill the gaps at the end.
struct PrefillScheduler<Element: MatrixScalar> {
  private let block: Block
  private let configuration: DensePrefillConfiguration
  private let parameters: PrefillParameters<Element>
  private let shared: PrefillSharedMemory<Element>
  /// Blocks of the grid, or clusters.
  private let width: Value<U32>
  /// This block's rank in its cluster, if it is in one.
  let rank: Value<U32>?

  /// A number that was asked for and may still be on its way.
  enum Request {
    case here(Value<U32>)
    case arriving(PipelinePosition)
  }

  init(
    _ block: Block, _ configuration: DensePrefillConfiguration,
    _ parameters: PrefillParameters<Element>, _ shared: PrefillSharedMemory<Element>
  ) {
    self.block = block
    self.configuration = configuration
    self.parameters = parameters
    self.shared = shared
    let isCluster = configuration.clusterSize > 1
    width = isCluster ? block.clusterCount() : block.gridSize()
    rank = isCluster ? block.clusterRank : nil
  }

  /// Number of the first tile: that of the block or cluster.
  var first: Value<U32> {
    configuration.clusterSize > 1 ? block.clusterIndex() : block.blockIndex()
  }

  /// The tile with a number below `tileCount`.
  func tile(_ number: Value<U32>) -> PrefillTile {
    let (unit, lane): (Value<U32>, Value<U32>)  // row tile (of the cluster); head of all requests
    if let headsInCache = parameters.headsInCache {
      let perGroup = headsInCache * parameters.rowTiles
      let group = number / perGroup
      let within = number % perGroup
      unit = parameters.rowTiles - 1 - within / headsInCache
      lane = group * headsInCache + within % headsInCache
    } else {
      unit = number % parameters.rowTiles
      lane = number / parameters.rowTiles
    }
    let head = lane % parameters.headCount
    let rows = configuration.tileQ * configuration.clusterSize
    let start = unit * rows
    return PrefillTile(
      row: rank.map { start + $0 * configuration.tileQ } ?? start, head: head,
      kvHead: head / parameters.groupSize, request: lane / parameters.headCount,
      keyTiles: keyTiles(end: min(start + rows, parameters.qoLength)))
  }

  /// Key tiles that the rows before `end` see; the same in both blocks of a cluster. Rows that see
  /// none visit one all the same, which is masked.
  private func keyTiles(end: Value<U32>) -> Value<U32> {
    var keys = parameters.kvLength
    if configuration.isCausal {
      // kvLength − qoLength + end, where it is positive.
      let sum = parameters.kvLength + end
      keys = select(
        sum > parameters.qoLength, sum - parameters.qoLength, block.constant(1, as: U32.self))
    }
    return (keys + (configuration.tileKV - 1)) / configuration.tileKV
  }

  /// Asks for the number of the tile after this one.
  ///
  /// - Parameter turn: the slot that the number will arrive in.
  func request(after number: Value<U32>, turn: PipelinePosition) -> Request {
    guard let counter = parameters.counter else { return .here(number + width) }
    guard let fetched = shared.fetched, let rank else { return .here(fetch(counter) + width) }
    let slot = turn.stage
    block.arrive(fetched.arrived[slot], expecting: 4)
    block.when(rank == 0) {
      let number = fetch(counter)
      for target in 0..<configuration.clusterSize {
        let rank = block.constant(target, as: U32.self)
        block.storeAsync(
          [number], to: fetched.numbers[slot].mapped(toRank: rank),
          signalling: fetched.arrived[slot].mapped(toRank: rank))
      }
    }
    return .arriving(turn)
  }

  /// The number asked for.
  func number(of request: Request) -> Value<U32> {
    switch request {
    case .here(let number): return number
    case .arriving(let turn):
      guard let fetched = shared.fetched else { return width }
      block.wait(fetched.arrived[turn.stage], parity: turn.parity)
      return block.load(fetched.numbers[turn.stage]) + width
    }
  }

  /// Takes a number; whoever takes the launch's last one leaves the counter at 0 for the next
  /// launch. Each tile leads to one fetch, so the last of them finds tileCount − 1.
  private func fetch(_ counter: GlobalPointer<U32>) -> Value<U32> {
    let number = block.atomic(.add, counter, block.constant(1, as: U32.self))
    block.when(number == parameters.tileCount - 1) {
      block.store(block.constant(0, as: U32.self), to: counter)
    }
    return number
  }
}
