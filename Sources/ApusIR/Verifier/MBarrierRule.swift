/// mbarriers can complete: each is initialised with the arrivals its table entry declares, one
/// that is waited on is arrived at, no more arrivals are declared than the arriving code can make
/// in one pass, and copies that signal it and announcements of their bytes go together.
///
/// Barriers are recognised by the allocation their address comes from (`AddressRoots`). A rule
/// about what is missing is skipped when some address of that kind has no known root.
enum MBarrierRule: VerifierRule {
  static let rule = Diagnostic.Rule.mbarriers

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    guard kernel.shared.contains(where: { $0.contents != .bytes }) else { return }
    let roots = report.addressRoots
    var uses = Uses(count: kernel.shared.count)
    uses.collect(kernel.body, threads: kernel.launch.threads, roots)
    for (index, shared) in kernel.shared.enumerated() {
      guard case .mbarriers(let arrivals) = shared.contents else { continue }
      check(shared.name, arrivals, uses, index, of: kernel, &report)
    }
  }

  /// Where and how often each allocation's barriers are used.
  private struct Uses {
    var inits: [[(count: UInt64?, place: SourceLocation)]]
    var waits: [[SourceLocation]]
    /// Most arrivals of one pass over the code, all lanes counted.
    var arrivals: [Int]
    var announcements: [[SourceLocation]]
    var copies: [[SourceLocation]]
    var hasUnknownInit = false
    var hasUnknownArrival = false
    var hasUnknownAnnouncement = false
    var hasUnknownCopy = false

    init(count: Int) {
      inits = Array(repeating: [], count: count)
      waits = Array(repeating: [], count: count)
      arrivals = Array(repeating: 0, count: count)
      announcements = Array(repeating: [], count: count)
      copies = Array(repeating: [], count: count)
    }

    mutating func collect(_ region: Region, threads: Int, _ roots: AddressRoots) {
      for node in region.nodes {
        note(node, threads: threads, roots)
        if case .control(.roles(let roles)) = node.op {
          for (role, region) in zip(roles, node.regions) {
            collect(region, threads: role.threadCount, roots)
          }
        } else {
          for region in node.regions { collect(region, threads: threads, roots) }
        }
      }
    }

    private mutating func note(_ node: Node, threads: Int, _ roots: AddressRoots) {
      func root(_ index: Int) -> Int? {
        node.operands.indices.contains(index) ? roots[node.operands[index]]?.index : nil
      }
      func arrive(_ uses: inout Uses, _ count: Int) {
        guard let index = root(0) else {
          uses.hasUnknownArrival = true
          return
        }
        uses.arrivals[index] += count
      }
      func announce(_ uses: inout Uses) {
        guard let index = root(0) else {
          uses.hasUnknownAnnouncement = true
          return
        }
        uses.announcements[index].append(node.location)
      }
      func complete(_ uses: inout Uses, _ operand: Int) {
        guard let index = root(operand) else {
          uses.hasUnknownCopy = true
          return
        }
        uses.copies[index].append(node.location)
      }
      switch node.op {
      case .synchronisation(.mbarrierInit):
        guard let index = root(0) else {
          hasUnknownInit = true
          return
        }
        inits[index].append((node.operands.last?.constant?.bits, node.location))
      case .synchronisation(.mbarrierWait), .synchronisation(.mbarrierTest):
        if let index = root(0) { waits[index].append(node.location) }
      case .synchronisation(.mbarrierArrive(let value)): arrive(&self, threads * value.count)
      case .synchronisation(.mbarrierArriveExpect):
        arrive(&self, threads)
        announce(&self)
      case .synchronisation(.mbarrierExpect): announce(&self)
      case .copy(.asyncArrive): arrive(&self, threads)
      case .copy(.bulkLoad), .copy(.bulkCopyToCluster): complete(&self, 3)
      case .copy(.tensorLoad(let access)): complete(&self, 2 + access.dimensions)
      case .copy(.storeAsync): complete(&self, node.operands.count - 1)
      default: break
      }
    }
  }

  private static func check(
    _ name: String, _ arrivals: Int, _ uses: Uses, _ index: Int, of kernel: KernelIR,
    _ report: inout Report
  ) {
    for initialisation in uses.inits[index] {
      if let count = initialisation.count, count != UInt64(arrivals) {
        report.add(
          rule, at: initialisation.place,
          "mbarriers \(name) must be initialised with their \(arrivals) arrivals",
          found: "\(count)")
      }
    }
    let places = uses.waits[index] + uses.announcements[index] + uses.copies[index]
    if uses.inits[index].isEmpty, !uses.hasUnknownInit, let place = places.first {
      report.add(
        rule, at: place, "mbarriers \(name) must be initialised", found: "no mbarrier.init")
    }
    if let wait = uses.waits[index].first, !uses.hasUnknownArrival {
      let possible = uses.arrivals[index] * kernel.launch.clusterSize
      if possible == 0 {
        report.add(
          rule, at: wait, "mbarriers \(name) must be arrived at to be waited for",
          found: "no arrival: the wait never ends")
      } else if possible < arrivals {
        report.add(
          rule, at: wait, "mbarriers \(name) must get their \(arrivals) arrivals",
          found: "at most \(possible) from the roles that arrive")
      }
    }
    if let place = uses.announcements[index].first, uses.copies[index].isEmpty,
      !uses.hasUnknownCopy
    {
      report.add(
        rule, at: place, "bytes announced to mbarriers \(name) must be copied",
        found: "no copy that signals them")
    }
    if let place = uses.copies[index].first, uses.announcements[index].isEmpty,
      !uses.hasUnknownAnnouncement
    {
      report.add(
        rule, at: place, "copies that signal mbarriers \(name) must be announced",
        found: "no expect_tx")
    }
  }
}
