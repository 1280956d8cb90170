/// Every named barrier can complete: the warps whose code arrives at it or syncs on it are at
/// least as many as its thread count asks for, and some of them sync.
enum NamedBarrierRule: VerifierRule {
  static let rule = Diagnostic.Rule.namedBarriers

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    guard report.census.hasNamedBarriers else { return }
    var warps = Array(repeating: Set<Int>(), count: kernel.barriers.count)
    var syncs = Array(repeating: false, count: kernel.barriers.count)
    var places = [SourceLocation?](repeating: nil, count: kernel.barriers.count)
    func collect(_ region: Region, _ running: Range<Int>) {
      for node in region.nodes {
        switch node.op {
        case .synchronisation(.barrierSync(let id)):
          syncs[id.index] = true
          warps[id.index].formUnion(running)
          places[id.index] = places[id.index] ?? node.location
        case .synchronisation(.barrierArrive(let id)):
          warps[id.index].formUnion(running)
          places[id.index] = places[id.index] ?? node.location
        case .control(.roles(let roles)):
          for (role, region) in zip(roles, node.regions) { collect(region, role.warps) }
          continue
        default: break
        }
        for region in node.regions { collect(region, running) }
      }
    }
    collect(kernel.body, 0..<kernel.launch.warpCount)
    for (index, barrier) in kernel.barriers.enumerated() {
      guard let place = places[index] else { continue }
      let threads = warps[index].count * warpSize
      if threads < barrier.threads {
        report.add(
          rule, at: place,
          "barrier \(barrier.name) must be reached by the \(barrier.threads) threads it counts",
          found: "\(threads) threads whose code reaches it",
          remedy: "Lower its count or let the other roles arrive.")
      }
      if !syncs[index] {
        report.add(
          rule, at: place, "barrier \(barrier.name) must be synced on by someone",
          found: "arrivals only")
      }
    }
  }
}
