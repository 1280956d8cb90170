internal import ApusCore

/// One row of attention's output: a query token and a query head.
struct AttentionRow {
  /// Row of q, o and lse.
  let row: Int
  /// Query head.
  let head: Int
  /// Position of the query within its request's keys: `kvLength − qoLength + i`.
  let position: Int
  /// Visible keys, ascending.
  let keys: [Int]
}

extension AttentionProblem {
  /// Visits every (query token, query head) of a validated problem.
  ///
  /// - Parameters:
  ///   - load: what the rows of one request and KV head share: called once for each pair.
  ///   - body: one row with what its request and KV head share.
  func forEachRow<Shared>(
    load: (_ request: Int, _ kvHead: Int) -> Shared, _ body: (AttentionRow, Shared) -> Void
  ) {
    for r in 0..<batch {
      let (qoLength, kvLength) = (qoLength(r), kvLength(r))
      for g in 0..<shape.kvHeadCount {
        let shared = load(r, g)
        for i in 0..<qoLength {
          let keys = (0..<kvLength).filter {
            mask.allows(request: r, i, $0, qoLength: qoLength, kvLength: kvLength)
          }
          for h in g * shape.groupSize..<(g + 1) * shape.groupSize {
            body(
              AttentionRow(
                row: qoIndptr.offsets[r] + i, head: h, position: kvLength - qoLength + i,
                keys: keys),
              shared)
          }
        }
      }
    }
  }
}
