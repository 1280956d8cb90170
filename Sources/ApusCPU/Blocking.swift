internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner

/// Sizes of the blocks of one problem. They depend on nothing but the problem, because results do.
struct Blocking: Sendable, Hashable {
  /// Packed rows from which packed panels and the matrix kernel beat row-wise products. Packing and
  /// unhidden reads of memory cost as much as the products of 16 rows.
  static let panelRows = 17
  /// Keys of one step over packed panels, which stay in the L1 cache for one block of rows.
  static let panelKeys = 64
  /// Rows that pass over a panel together: their scores and queries stay in the L1 cache beside it.
  static let blockRows = 48
  /// Bytes of K that one step of streaming reads: a step of K and one of V, being read or on their
  /// way, stay in the L2 cache.
  static let streamBytes = 128 << 10
  /// Bytes of K that one head takes its turn with.
  static let turnBytes = 4 << 10
  /// Bytes of one token that follow each other: as many as make a good stream.
  static let tokenBytes = 2 << 10

  /// Most packed rows of a tile.
  let tileRows: Int
  /// KV heads that stream together, at most.
  let streamHeads: Int
  /// Keys of one step of streaming.
  let streamKeys: Int
  /// Keys of which all heads are read before the next ones: a few kilobytes of each head, so that
  /// reads stay close to the order of addresses. At 8 bits a turn's own work weighs more than that.
  let turnKeys: Int

  init(_ problem: AttentionProblem) {
    let shape = problem.shape
    tileRows = CPUAttention.tiling(shape).tileRows
    let rowBytes = max(shape.headDimQK * problem.types.kv.byteCount, 1)
    let most = max(min(tileRows / Self.panelRows, shape.kvHeadCount), 1)
    let heads = min(max(Self.tokenBytes / rowBytes, 1), most)
    // In HND the tokens of a head follow each other: each head is a stream of its own.
    streamHeads = problem.layout == .nhd ? heads : 1
    streamKeys = min(max(Self.streamBytes / (heads * rowBytes) / 32 * 32, 32), 256)
    turnKeys =
      problem.layout == .nhd && problem.types.kv.byteCount > 1
      ? min(max(Self.turnBytes / rowBytes / 8 * 8, 8), streamKeys) : streamKeys
  }

  /// Keys of one step of the online softmax for a tile of `rows` packed rows.
  func stepKeys(rows: Int, isRotated: Bool) -> Int {
    rows >= Self.panelRows || isRotated ? Self.panelKeys : streamKeys
  }
}
