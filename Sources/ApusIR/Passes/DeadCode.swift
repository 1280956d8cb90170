/// Drops nodes without effect whose results nothing reads, variables nothing reads, and branches
/// without nodes.
///
/// Why it is right: a removable node (`Op.isRemovable`) does nothing but write its results, so
/// without readers it does nothing. An `assign` or declaration writes one variable and nothing
/// else; in-place ops read their accumulators, so those count as read. A branch with empty regions
/// evaluates a predicate that is already there. Loops stay: they may not end. Collective nodes go
/// in all lanes at once. Each round can free operands for the next, so rounds repeat until one
/// finds nothing; every round removes nodes, so they end.
public enum DeadCode: Pass {
  /// The name in listings.
  public static let name = "dead code"

  /// The kernel without dead nodes.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var result = kernel
    var isStable = false
    while !isStable {
      var isRead = Array(repeating: false, count: kernel.values.count)
      result.body.forEachNode { node, _ in
        for id in node.operands.compactMap(\.valueID) { isRead[id.index] = true }
      }
      isStable = true
      result.body = sweep(result.body, isRead, &isStable)
    }
    return result
  }

  private static func sweep(
    _ region: Region, _ isRead: [Bool], _ isStable: inout Bool
  ) -> Region {
    var nodes: [Node] = []
    nodes.reserveCapacity(region.nodes.count)
    for var node in region.nodes {
      node.regions = node.regions.map { sweep($0, isRead, &isStable) }
      if isDead(node, isRead) {
        isStable = false
      } else {
        nodes.append(node)
      }
    }
    return Region(nodes)
  }

  private static func isDead(_ node: Node, _ isRead: [Bool]) -> Bool {
    switch node.op {
    case .control(.if): node.regions.allSatisfy { $0.nodes.isEmpty }
    case .movement(.variable), .movement(.assign):
      !node.results.contains { isRead[$0.index] }
    default: node.op.isRemovable && !node.results.contains { isRead[$0.index] }
    }
  }
}
