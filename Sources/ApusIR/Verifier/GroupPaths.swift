/// The most groups that any path to a wait has committed.
///
/// The kernel is reduced to commits, waits and the control flow around them; walking that counts
/// commits, joins branches by the larger count and repeats loops until no count grows (counts stop
/// one above the largest `pending` of the kernel, so this ends). Each role starts with the count
/// before the roles: groups belong to threads.
struct GroupPaths {
  /// Instructions that have groups of their own.
  enum Family: String {
    case copies = "cp.async"
    case bulk = "cp.async.bulk"
    case products = "wgmma"
  }

  /// A wait that covers no group on any path.
  struct HollowWait {
    let family: Family
    let place: SourceLocation
    let pending: Int
    let committed: Int
  }

  private enum Step {
    case commit(Family)
    case wait(Family, pending: Int, id: Int)
    /// Alternatives; an absent else is an empty one.
    case branch([[Step]])
    case loop([Step])
    case leave(isBreak: Bool, isSure: Bool)
    case end
  }

  private struct Wait {
    let family: Family
    let place: SourceLocation
    let pending: Int
    /// The most commits seen, nil as long as the wait was not reached.
    var committed: Int?
  }

  private var waits: [Wait] = []
  private var limit = 1
  private var breaks: [Counts?] = []
  private var continues: [Counts?] = []

  private struct Counts: Equatable {
    var copies = 0
    var bulk = 0
    var products = 0

    subscript(family: Family) -> Int {
      get {
        switch family {
        case .copies: copies
        case .bulk: bulk
        case .products: products
        }
      }
      set {
        switch family {
        case .copies: copies = newValue
        case .bulk: bulk = newValue
        case .products: products = newValue
        }
      }
    }

    static func larger(_ left: Counts?, _ right: Counts?) -> Counts? {
      guard let left else { return right }
      guard let right else { return left }
      return Counts(
        copies: max(left.copies, right.copies), bulk: max(left.bulk, right.bulk),
        products: max(left.products, right.products))
    }
  }

  /// Waits of the kernel that can cover nothing.
  static func hollowWaits(of kernel: KernelIR) -> [HollowWait] {
    var paths = GroupPaths()
    let steps = paths.steps(kernel.body)
    guard !paths.waits.isEmpty else { return [] }
    paths.limit = 1 + (paths.waits.map(\.pending).max() ?? 0)
    _ = paths.walk(steps, from: Counts())
    return paths.waits.compactMap { wait in
      guard let committed = wait.committed, committed <= wait.pending else { return nil }
      return HollowWait(
        family: wait.family, place: wait.place, pending: wait.pending, committed: committed)
    }
  }

  // MARK: - Reduction

  private mutating func steps(_ region: Region) -> [Step] {
    var list: [Step] = []
    for index in region.nodes.indices {
      switch region.nodes[index].op {
      case .copy(.asyncCommit): list.append(.commit(.copies))
      case .copy(.bulkCommit): list.append(.commit(.bulk))
      case .tensorCore(.wgmmaCommit): list.append(.commit(.products))
      case .copy(.asyncWait(let pending)):
        list.append(wait(.copies, pending, region.nodes[index].location))
      case .copy(.bulkWait(let pending, _)):
        list.append(wait(.bulk, pending, region.nodes[index].location))
      case .tensorCore(.wgmmaWait(let pending)):
        list.append(wait(.products, pending, region.nodes[index].location))
      case .control(let op): control(op, region.nodes[index], &list)
      default: break
      }
    }
    return list
  }

  private mutating func wait(_ family: Family, _ pending: Int, _ place: SourceLocation) -> Step {
    waits.append(Wait(family: family, place: place, pending: pending))
    return .wait(family, pending: pending, id: waits.count - 1)
  }

  private mutating func control(_ op: Op.Control, _ node: Node, _ list: inout [Step]) {
    let isSure = node.operands.first?.constant?.bits == 1
    switch op {
    case .if:
      let ways = node.regions.map { steps($0) }
      list.append(.branch(ways.count < 2 ? ways + [[]] : ways))
    case .roles: list.append(.branch(node.regions.map { steps($0) } + [[]]))
    case .loop: list.append(.loop(node.regions.flatMap { steps($0) }))
    case .breakIf: list.append(.leave(isBreak: true, isSure: isSure))
    case .continueIf: list.append(.leave(isBreak: false, isSure: isSure))
    case .exit, .trap: list.append(.end)
    case .sleep, .setMaxRegisters, .comment, .phase: break
    }
  }

  // MARK: - Walk

  /// Counts after the steps, nil if no path passes them.
  private mutating func walk(_ steps: [Step], from start: Counts) -> Counts? {
    var counts = start
    for step in steps {
      switch step {
      case .commit(let family): counts[family] = min(limit, counts[family] + 1)
      case .wait(let family, _, let id):
        waits[id].committed = max(waits[id].committed ?? 0, counts[family])
      case .branch(let ways):
        var end: Counts?
        for way in ways { end = Counts.larger(end, walk(way, from: counts)) }
        guard let end else { return nil }
        counts = end
      case .loop(let body):
        guard let end = loop(body, from: counts) else { return nil }
        counts = end
      case .leave(let isBreak, let isSure):
        if isBreak, let last = breaks.indices.last {
          breaks[last] = Counts.larger(breaks[last], counts)
        } else if !isBreak, let last = continues.indices.last {
          continues[last] = Counts.larger(continues[last], counts)
        }
        if isSure { return nil }
      case .end: return nil
      }
    }
    return counts
  }

  private mutating func loop(_ body: [Step], from start: Counts) -> Counts? {
    var head = start
    while true {
      breaks.append(nil)
      continues.append(nil)
      let end = walk(body, from: head)
      let round = Counts.larger(end, continues.removeLast())
      let exit = breaks.removeLast()
      guard let next = Counts.larger(head, round), next != head else { return exit }
      head = next
    }
  }
}
