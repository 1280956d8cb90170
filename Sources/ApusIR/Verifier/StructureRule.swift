/// Tables and nesting are well formed: every index is in its table, launch bounds and allocations
/// make sense, ops have their regions, breaks stand in loops, roles stand once at the top level
/// with disjoint warps, predicated regions hold only what a guard can express, no code follows an
/// unconditional exit, and every loop has a way out.
enum StructureRule: VerifierRule {
  static let rule = Diagnostic.Rule.structure

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    checkLaunch(kernel, &report)
    checkShared(kernel, &report)
    checkRings(kernel, &report)
    var roleNodes = 0
    kernel.body.forEachNode { node, depth in
      checkIndices(of: node, in: kernel, &report)
      let counts = node.op.regionCounts
      if !counts.contains(node.regions.count) {
        report.add(
          rule, at: node.location,
          "\(node.op.mnemonic) must have \(counts.lowerBound)…\(counts.upperBound) regions",
          found: "\(node.regions.count)")
      }
      switch node.op {
      case .control(.roles(let roles)):
        roleNodes += 1
        if depth > 0 || roleNodes > 1 {
          report.add(
            rule, at: node.location, "roles must stand once, at the top level",
            found: depth > 0 ? "nesting depth \(depth)" : "a second one")
        }
        check(roles, of: kernel, at: node.location, &report)
      case .control(.if(.predicated)): checkPredicated(node, &report)
      case .control(.loop): checkExit(of: node, &report)
      default: break
      }
    }
    checkBreaks(kernel.body, inLoop: false, &report)
  }

  private static func checkLaunch(_ kernel: KernelIR, _ report: inout Report) {
    let launch = kernel.launch
    if launch.threads < 32 || launch.threads > 1024 || launch.threads % warpSize != 0 {
      report.add(
        rule, "threads must be a multiple of 32 in 32…1024", found: "\(launch.threads)")
    }
    if launch.minBlocksPerMultiprocessor < 1 || launch.minBlocksPerMultiprocessor > 32 {
      report.add(
        rule, "minBlocksPerMultiprocessor must be in 1…32",
        found: "\(launch.minBlocksPerMultiprocessor)")
    }
    if ![1, 2, 4, 8, 16].contains(launch.clusterSize) {
      report.add(
        rule, "clusterSize must be 1, 2, 4, 8 or 16", found: "\(launch.clusterSize)")
    }
  }

  private static func checkShared(_ kernel: KernelIR, _ report: inout Report) {
    for shared in kernel.shared {
      let alignment = shared.alignment
      if alignment <= 0 || alignment & (alignment - 1) != 0 {
        report.add(
          rule, "alignment of shared \(shared.name) must be a power of two", found: "\(alignment)")
      } else if shared.offset < 0 || shared.offset % alignment != 0 || shared.byteCount < 0 {
        report.add(
          rule, "shared \(shared.name) must start at a multiple of \(alignment)",
          found: "offset \(shared.offset), \(shared.byteCount) bytes")
      }
      if case .mbarriers(let arrivals) = shared.contents {
        if alignment < 8 || shared.byteCount % 8 != 0 || !(1...((1 << 20) - 1)).contains(arrivals) {
          report.add(
            rule, "mbarriers \(shared.name) must be 8-byte objects of 1…1048575 arrivals",
            found: "\(shared.byteCount) bytes, alignment \(alignment), \(arrivals) arrivals")
        }
      }
    }
  }

  private static func checkRings(_ kernel: KernelIR, _ report: inout Report) {
    for ring in kernel.rings {
      let stages = [ring.full, ring.empty].map { id -> Int? in
        guard kernel.shared.indices.contains(id.index),
          case .mbarriers = kernel.shared[id.index].contents
        else { return nil }
        return kernel.shared[id.index].byteCount / 8
      }
      if stages[0] == nil || stages[0] != stages[1] || ring.full == ring.empty {
        report.add(
          rule, "ring \(ring.name) must have two mbarrier arrays of equal size",
          found: stages.map { $0.map(String.init) ?? "none" }.joined(separator: " and "))
      }
    }
  }

  private static func checkIndices(
    of node: Node, in kernel: KernelIR, _ report: inout Report
  ) {
    func require(_ index: Int, _ table: String, _ count: Int, _ report: inout Report) {
      guard index < 0 || index >= count else { return }
      report.add(
        rule, at: node.location, "\(node.op.mnemonic) must name one of \(count) \(table)",
        found: "index \(index)")
    }
    for operand in node.operands {
      if let id = operand.valueID { require(id.index, "values", kernel.values.count, &report) }
    }
    for id in node.results { require(id.index, "values", kernel.values.count, &report) }
    switch node.op {
    case .memory(.parameter(let id, _)), .memory(.parameterAddress(let id)):
      require(id.index, "parameters", kernel.parameters.count, &report)
    case .memory(.sharedAddress(let id, _)):
      require(id.index, "shared allocations", kernel.shared.count, &report)
    case .synchronisation(.barrierSync(let id)), .synchronisation(.barrierArrive(let id)):
      require(id.index, "named barriers", kernel.barriers.count, &report)
    default: break
    }
  }

  private static func check(
    _ roles: [Role], of kernel: KernelIR, at location: SourceLocation, _ report: inout Report
  ) {
    var taken = Set<Int>()
    for role in roles {
      if role.warps.isEmpty || role.warps.lowerBound < 0
        || role.warps.upperBound > kernel.launch.warpCount
      {
        report.add(
          rule, at: location,
          "role \(role.name) must have warps of 0..<\(kernel.launch.warpCount)",
          found: "\(role.warps)")
      } else if !taken.isDisjoint(with: role.warps) {
        report.add(
          rule, at: location, "roles must have disjoint warps",
          found: "\(role.name) with \(role.warps)")
      }
      taken.formUnion(role.warps)
    }
  }

  private static func checkPredicated(_ node: Node, _ report: inout Report) {
    for inner in node.regions.flatMap(\.nodes) {
      let isMarker =
        switch inner.op {
        case .control(.comment), .control(.phase), .control(.exit), .control(.trap): true
        default: false
        }
      let isControl = if case .control = inner.op { !isMarker } else { false }
      guard inner.op.isCollective || inner.op.isBlocking || isControl else { continue }
      report.add(
        rule, at: inner.location,
        "a predicated region must hold ops that a guard can express",
        found: inner.op.mnemonic, remedy: "Use a uniform or divergent if.")
    }
  }

  /// A loop ends by a break of its own or by an exit anywhere inside.
  private static func checkExit(of loop: Node, _ report: inout Report) {
    func canLeave(_ region: Region, own: Bool) -> Bool {
      region.nodes.contains { node in
        switch node.op {
        case .control(.breakIf): own && node.operands.first?.constant?.bits != 0
        case .control(.exit), .control(.trap): true
        case .control(.loop): node.regions.contains { canLeave($0, own: false) }
        default: node.regions.contains { canLeave($0, own: own) }
        }
      }
    }
    if !loop.regions.contains(where: { canLeave($0, own: true) }) {
      report.add(
        rule, at: loop.location, "a loop must have a break_if or an exit inside",
        found: "none that can be taken")
    }
  }

  /// Whether nothing runs after the node: it exits, leaves the round for sure, is a loop that only
  /// exits leave, or a branch whose ways all end so.
  private static func endsRegion(_ node: Node) -> Bool {
    switch node.op {
    case .control(.exit), .control(.trap): true
    case .control(.breakIf), .control(.continueIf): node.operands.first?.constant?.bits == 1
    case .control(.loop): !node.regions.contains(where: hasBreak)
    case .control(.if):
      node.regions.count == 2 && node.regions.allSatisfy { $0.nodes.contains(where: endsRegion) }
    default: false
    }
  }

  /// Whether a region holds a break of the loop around it that can be taken.
  private static func hasBreak(_ region: Region) -> Bool {
    region.nodes.contains { node in
      switch node.op {
      case .control(.breakIf): node.operands.first?.constant?.bits != 0
      case .control(.loop): false
      default: node.regions.contains(where: hasBreak)
      }
    }
  }

  private static func checkBreaks(_ region: Region, inLoop: Bool, _ report: inout Report) {
    var ended: Node?
    for node in region.nodes {
      if let ended {
        switch node.op {
        case .control(.comment), .control(.phase): continue
        default:
          report.add(
            rule, at: node.location, "code must be reachable",
            found: "\(node.op.mnemonic) after \(ended.op.mnemonic) of \(ended.location)")
          return
        }
      }
      guard case .control(let op) = node.op else { continue }
      if endsRegion(node) { ended = node }
      switch op {
      case .breakIf, .continueIf:
        if !inLoop {
          report.add(
            rule, at: node.location, "\(node.op.mnemonic) must stand in a loop",
            found: "no loop around it")
        }
      case .loop:
        for region in node.regions { checkBreaks(region, inLoop: true, &report) }
      default:
        for region in node.regions { checkBreaks(region, inLoop: inLoop, &report) }
      }
    }
  }
}
