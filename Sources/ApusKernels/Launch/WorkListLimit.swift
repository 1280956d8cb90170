internal import ApusCore

/// The most work items that a plan's lists may hold: beyond it, lists would take gigabytes of host
/// memory, and indices of items would no longer fit the fields that kernels read.
enum WorkListLimit {
  /// Items of a plan.
  static let items = 1 << 24

  /// Why a problem would exceed the limit, or offsets of 32 bits; nil if it does not.
  ///
  /// - Parameters:
  ///   - rows: packed query rows of an item.
  ///   - heads: KV heads that have items of their own.
  ///   - leastSplit: keys of the smallest split that the planner would make by itself.
  static func refusal(
    _ problem: AttentionProblem, rows: Int, heads: Int, leastSplit: Int
  ) -> String? {
    var ends = [("qoIndptr", problem.qoIndptr.end)]
    if case .ragged(let indptr) = problem.geometry { ends.append(("kvIndptr", indptr.end)) }
    for (name, end) in ends where end > Int(UInt32.max) {
      return "\(name) must end below 2^32; found \(end)"
    }
    let options = problem.options
    let split = options.disablesSplitKV ? Int.max : options.splitSize ?? leastSplit
    // In floating point nothing overflows, and the limit is far below 2^53.
    var count = 0.0
    for (queries, keys) in zip(problem.qoIndptr.lengths, problem.geometry.lengths) {
      let packed = Double(queries) * Double(problem.shape.groupSize)
      count +=
        (packed / Double(rows)).rounded(.up) * Double(heads)
        * max(1, (Double(keys) / Double(split)).rounded(.up) + 1)
    }
    guard count <= Double(items) else {
      return "the work list must hold at most \(items) items; found up to \(count)"
    }
    return nil
  }
}
