/// Rings are balanced: code that waits for full stages hands them back, code that waits for empty
/// stages fills them, and a round of a loop hands over a whole multiple of the stages it takes.
///
/// Code is counted per role. Both branches of an `if` count as the larger one. A pipeline may take
/// a stage in one round and release it in the next, so only the counts of a round matter, not
/// their order; several arrivals per stage (one for each block of a cluster) are allowed. Stages
/// taken before a loop and released after it are not matched: the simulator runs them.
enum RingRule: VerifierRule {
  static let rule = Diagnostic.Rule.rings

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    guard !kernel.rings.isEmpty else { return }
    let roots = report.addressRoots
    var code: [(name: String, region: Region)] = []
    var outside = skeleton(of: kernel.body)
    for (index, node) in outside.nodes.enumerated() {
      guard case .control(.roles(let roles)) = node.op else { continue }
      code += zip(roles, node.regions).map { ($0.name, $1) }
      outside.nodes[index].regions = node.regions.map { _ in Region() }
    }
    code.append(("the kernel", outside))
    for ring in kernel.rings {
      for (name, region) in code {
        let counter = Counter(kernel: kernel, roots: roots, ring: ring)
        counter.check(region, "takes full stages of \(ring.name) in \(name)", .consumer, &report)
        counter.check(region, "takes empty stages of \(ring.name) in \(name)", .producer, &report)
      }
    }
  }

  /// What the rule looks at, each region counted several times: barriers and the control around.
  private static func skeleton(of region: Region) -> Region {
    var nodes: [Node] = []
    for node in region.nodes {
      switch node.op {
      case .synchronisation, .copy(.asyncArrive): nodes.append(node)
      case .control where !node.regions.isEmpty:
        var kept = node
        kept.regions = node.regions.map(skeleton)
        nodes.append(kept)
      default: break
      }
    }
    return Region(nodes)
  }

  private enum Side { case consumer, producer }

  private struct Counts {
    var waits = 0
    var arrivals = 0
    var place: SourceLocation?
  }

  private struct Counter {
    let kernel: KernelIR
    let roots: AddressRoots
    let ring: Ring

    func check(_ region: Region, _ what: String, _ side: Side, _ report: inout Report) {
      let all = count(region, side, entersLoops: true)
      guard let place = all.place else { return }
      let duty = side == .consumer ? "arrive at its empty barriers" : "complete its full barriers"
      if all.arrivals == 0 {
        report.add(
          rule, at: place, "code that \(what) must \(duty)", found: "no such arrival",
          remedy: "Without it the ring stops once every stage was used.")
        return
      }
      region.forEachNode { node, _ in
        guard case .control(.loop) = node.op, let body = node.regions.first else { return }
        let round = count(body, side, entersLoops: false)
        guard let place = round.place, round.arrivals > 0, round.arrivals % round.waits != 0
        else { return }
        report.add(
          rule, at: place,
          "a round that \(what) must \(duty) a whole number of times per stage",
          found: "\(round.waits) waits and \(round.arrivals) arrivals")
      }
    }

    private func count(_ region: Region, _ side: Side, entersLoops: Bool) -> Counts {
      var total = Counts()
      for node in region.nodes {
        let waited = side == .consumer ? ring.full : ring.empty
        let completed = side == .consumer ? ring.empty : ring.full
        let root = node.operands.first.flatMap { roots[$0] }
        switch node.op {
        case .synchronisation(.mbarrierWait) where root == waited:
          total.waits += 1
          total.place = total.place ?? node.location
        case .synchronisation(.mbarrierArrive) where root == completed,
          .synchronisation(.mbarrierArriveExpect) where root == completed,
          .copy(.asyncArrive) where root == completed:
          total.arrivals += 1
        default: break
        }
        if case .control(.loop) = node.op, !entersLoops { continue }
        let nested = node.regions.map { count($0, side, entersLoops: entersLoops) }
        total.waits += nested.map(\.waits).max() ?? 0
        total.arrivals += nested.map(\.arrivals).max() ?? 0
        total.place = total.place ?? nested.compactMap(\.place).first
      }
      return total
    }
  }
}
