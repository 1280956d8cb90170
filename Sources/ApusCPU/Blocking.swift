internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

/// Sizes of the blocks of one problem. They depend on nothing but the problem, because results do.
struct Blocking: Sendable, Hashable {
  /// Packed rows from which packed panels and the matrix kernel beat row-wise products. Packing and
  /// unhidden reads of memory cost as much as the products of 16 rows.
  static let panelRows = 17
  /// Keys of one step over packed panels, which stay in the L1 cache for one block of rows.
  static let panelKeys = 64
  /// Rows that pass over a panel together: their scores and queries stay in the L1 cache beside it.
  static let blockRows = 48
  /// Keys of one step of streaming.
  static let streamKeys = 256
  /// Distant parts of a step that are read together: each is a stream of its own through memory.
  static let lanes = 4
  /// Bytes between what is read and what is requested, over all streams: what is on its way must not
  /// push out of the L1 cache what is read.
  static let reachBytes = 8 << 10

  /// Most packed rows of a tile.
  let tileRows: Int
  /// KV heads that stream together, at most.
  let streamHeads: Int

  init(_ problem: AttentionProblem) {
    let shape = problem.shape
    tileRows = CPUAttention.tiling(shape).tileRows
    // In HND the tokens of a head follow each other: each head is a stream of its own.
    streamHeads = problem.layout == .nhd ? max(min(tileRows, shape.kvHeadCount), 1) : 1
  }

  /// Heads of `rows` packed rows each that are read together.
  func joinedHeads(rows: Int) -> Int { max(min(streamHeads, tileRows / max(rows, 1)), 1) }

  /// How groups of `group` rows walk `heads` heads.
  static func walk(heads: Int, bytes: Int, stride: Int, group: Int) -> capus_walk {
    let reach = min(max(reachBytes / max(group * bytes, 1), 1), 3 * heads)
    return capus_walk(heads: Int32(heads), head_bytes: stride, reach: Int32(reach))
  }

  /// Keys of one step of the online softmax for a tile of `rows` packed rows.
  func stepKeys(rows: Int, isRotated: Bool) -> Int {
    rows >= Self.panelRows || isRotated ? Self.panelKeys : Self.streamKeys
  }
}
