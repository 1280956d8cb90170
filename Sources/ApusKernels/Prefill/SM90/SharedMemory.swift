internal import ApusDSL
internal import ApusIR

/// Everything a block keeps in shared memory, with the barriers that hand it from role to role.
struct PrefillSharedMemory<Element: MatrixScalar> {
  /// Queries of the block's rows.
  let queries: SharedTile<Element>
  /// Stages of K.
  let keys: SharedTiles<Element>
  /// Stages of V.
  let values: SharedTiles<Element>
  /// Output on its way out, a tile of 64 rows per warpgroup; nil where it goes directly.
  let output: SharedTiles<Element>?

  /// Stages of K from producer to consumers and back.
  let keyRing: StageRing
  /// Stages of V, in step with those of K.
  let valueRing: StageRing
  /// Complete when queries and work are there; one phase per tile.
  let queriesFull: MBarriers
  /// Complete when both may be overwritten.
  let queriesEmpty: MBarriers
  /// What the consumers work on: first row, head, request, count of key tiles (0 ends the work).
  let work: SharedArray<U32>
  /// Numbers that the cluster's first block fetched for both; nil without cluster or counter.
  let fetched: (numbers: SharedArray<U32>, arrived: MBarriers)?

  /// Allocates all of it: tiles first, which have the largest alignment.
  init(_ block: Block, _ configuration: DensePrefillConfiguration) {
    let (rows, width) = (configuration.tileKV, configuration.headDim)
    queries = block.tile(
      "queries", Element.self, rows: configuration.tileQ, columns: width, swizzle: .bytes128)
    keys = block.tiles(
      "keys", Element.self, count: configuration.stages, rows: rows, columns: width,
      swizzle: .bytes128)
    values = block.tiles(
      "values", Element.self, count: configuration.stages, rows: rows, columns: width,
      swizzle: .bytes128)
    output =
      configuration.output == .staged
      ? block.tiles(
        "output", Element.self, count: configuration.consumerCount, rows: 64, columns: width,
        swizzle: .bytes128) : nil
    // One lane of each consumer warp arrives, at both blocks of a cluster.
    let warps = 4 * configuration.consumerCount
    let releases = warps * configuration.clusterSize
    keyRing = block.ring("keys", stages: configuration.stages, emptyArrivals: releases)
    valueRing = block.ring("values", stages: configuration.stages, emptyArrivals: releases)
    queriesFull = block.mbarriers("queriesFull", arrivals: 1)
    queriesEmpty = block.mbarriers("queriesEmpty", arrivals: warps)
    work = block.shared("work", U32.self, count: 4)
    if configuration.clusterSize > 1, configuration.schedule == .dynamic {
      // The first block may be as many tiles ahead as the rings have stages, and fetches one
      // further: its number must not meet one that the other block has yet to read.
      var slots = 4
      while slots < configuration.stages + 2 { slots *= 2 }
      fetched = (
        block.shared("fetched", U32.self, count: slots),
        block.mbarriers("fetchedArrived", count: slots, arrivals: 1)
      )
    } else {
      fetched = nil
    }
  }

  /// All barriers, for `Block.initialise`.
  var barriers: [MBarriers] {
    [keyRing.full, keyRing.empty, valueRing.full, valueRing.empty, queriesFull, queriesEmpty]
      + (fetched.map { [$0.arrived] } ?? [])
  }
}
