/// Registers of asynchronous products rest while they are in flight, and fences stand where the
/// hardware needs them.
///
/// Abstract execution over the structured regions tracks, at each node, the products issued but
/// not committed and the committed groups that no wait has covered, each as the set of registers
/// it owns: accumulators and A registers. Any touch of such a register is reported, except as D
/// or A of a further product. It also tracks registers written since the last `wgmma.fence`: a
/// product that takes one of them is reported, as is the first product without a fence.
///
/// Branches join by union, the newest groups aligned; loops run until nothing changes (the sets
/// only grow and groups beyond eight merge, so this ends). At the end of the kernel nothing may be
/// in flight.
enum AccumulatorRule: VerifierRule {
  static let rule = Diagnostic.Rule.accumulators

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    guard report.census.hasAsyncProducts else { return }
    var fragments = ValueSet()
    kernel.body.forEachNode { node, _ in
      guard case .tensorCore(.wgmma(let shape)) = node.op else { return }
      for id in owned(by: node, shape, in: kernel) { fragments.insert(id) }
    }
    guard !fragments.isEmpty else { return }
    let walker = Walker(kernel: kernel)
    let end = walker.walk(skeleton(of: kernel.body, fragments), from: State(), &report)
    if let place = kernel.body.nodes.last?.location, end.isReachable, !end.inFlight.isEmpty {
      report.add(
        rule, at: place, "every wgmma must be waited for before the kernel ends",
        found: "\(end.inFlight.count) registers in flight",
        remedy: "Commit and wait with pending 0.")
    }
  }

  /// Registers that rest while a product is in flight.
  private static func owned(
    by node: Node, _ shape: Op.WGMMAShape, in kernel: KernelIR
  ) -> [ValueID] {
    var owned = node.results
    for operand in node.operands.dropFirst(shape.accumulatorCount).prefix(shape.aCount) {
      if let id = operand.valueID, kernel[id].type.bitWidth == 32 { owned.append(id) }
    }
    return owned
  }

  /// What the rule looks at, each loop several times: products, control, touches of their registers.
  private static func skeleton(of region: Region, _ fragments: ValueSet) -> Region {
    var nodes: [Node] = []
    for node in region.nodes {
      switch node.op {
      case .control where node.hasRegions:
        var kept = node
        kept.regions = node.regions.map { skeleton(of: $0, fragments) }
        nodes.append(kept)
      case .control, .tensorCore: nodes.append(node)
      default:
        let isTouch =
          node.results.contains(where: fragments.contains)
          || node.operands.contains { $0.valueID.map(fragments.contains) ?? false }
        if isTouch { nodes.append(node) }
      }
    }
    return Region(nodes)
  }

  private struct State: Equatable {
    var isReachable = true
    var isFenced = false
    var issued = ValueSet()
    /// Oldest first.
    var groups: [ValueSet] = []
    /// Everything issued or in a group.
    var inFlight = ValueSet()
    /// Whether that is anything: asked at every node.
    var hasInFlight = false
    var written = ValueSet()

    static let unreachable = State(isReachable: false)

    func joined(_ other: State) -> State {
      guard isReachable else { return other }
      guard other.isReachable else { return self }
      var result = self
      result.isFenced = isFenced && other.isFenced
      result.issued.formUnion(other.issued)
      result.inFlight.formUnion(other.inFlight)
      result.hasInFlight = hasInFlight || other.hasInFlight
      result.written.formUnion(other.written)
      let count = max(groups.count, other.groups.count)
      result.groups = (0..<count).map { index in
        var union = ValueSet()
        for state in [self, other] {
          let own = index - (count - state.groups.count)
          if own >= 0 { union.formUnion(state.groups[own]) }
        }
        return union
      }
      return result
    }

    mutating func wait(pending: Int) {
      groups = Array(groups.suffix(max(0, pending)))
      inFlight = groups.reduce(into: issued) { $0.formUnion($1) }
      hasInFlight = !inFlight.isEmpty
    }

    mutating func commit() {
      groups.append(issued)
      issued = ValueSet()
      if groups.count > 8 { groups[1].formUnion(groups.removeFirst()) }
    }
  }

  private final class Walker {
    let kernel: KernelIR
    private var breaks: [State] = []
    private var continues: [State] = []

    init(kernel: KernelIR) { self.kernel = kernel }

    func walk(_ region: Region, from start: State, _ report: inout Report) -> State {
      var state = start
      for node in region.nodes {
        guard state.isReachable else { break }
        touch(node, &state, &report)
        if case .tensorCore = node.op {
          step(node, &state)
        } else if case .control = node.op {
          state = control(node, state, &report)
        }
      }
      return state
    }

    private func step(_ node: Node, _ state: inout State) {
      switch node.op {
      case .tensorCore(.wgmmaFence):
        state.isFenced = true
        state.written.removeAll()
      case .tensorCore(.wgmmaCommit): state.commit()
      case .tensorCore(.wgmmaWait(let pending)):
        state.wait(pending: pending)
      default: break
      }
    }

    private func control(
      _ node: Node, _ state: State, _ report: inout Report
    ) -> State {
      switch node.op {
      case .control(.if):
        var end = node.regions.count < 2 ? state : State.unreachable
        for region in node.regions { end = end.joined(walk(region, from: state, &report)) }
        return end
      case .control(.roles):
        var end = state
        for region in node.regions { end = end.joined(walk(region, from: state, &report)) }
        return end
      case .control(.loop): return loop(node.regions[0], from: state, &report)
      case .control(.breakIf), .control(.continueIf):
        if case .control(.breakIf) = node.op, let last = breaks.indices.last {
          breaks[last] = breaks[last].joined(state)
        } else if let last = continues.indices.last {
          continues[last] = continues[last].joined(state)
        }
        if node.operands.first?.constant?.bits == 1 { return .unreachable }
      case .control(.exit), .control(.trap):
        if !state.inFlight.isEmpty, case .control(.exit) = node.op {
          report.add(
            rule, at: node.location, "every wgmma must be waited for before a thread exits",
            found: "\(state.inFlight.count) registers in flight")
        }
        return .unreachable
      default: break
      }
      return state
    }

    private func loop(
      _ body: Region, from start: State, _ report: inout Report
    ) -> State {
      var head = start
      while true {
        breaks.append(.unreachable)
        continues.append(.unreachable)
        let end = walk(body, from: head, &report).joined(continues.removeLast())
        let exit = breaks.removeLast()
        let next = head.joined(end)
        if next == head { return exit }
        head = next
      }
    }

    /// Reports touches of resting registers and missing fences; notes writes.
    private func touch(_ node: Node, _ state: inout State, _ report: inout Report) {
      if case .tensorCore(.wgmma(let shape)) = node.op {
        let owned = AccumulatorRule.owned(by: node, shape, in: kernel)
        if !state.isFenced {
          report.add(
            rule, at: node.location, "wgmma.fence must precede the first wgmma",
            found: "none on some path")
        } else if let stale = owned.first(where: state.written.contains) {
          report.add(
            rule, at: node.location,
            "wgmma.fence must stand between writes of registers and the wgmma that takes them",
            found: "\(report.name(stale)) written after the last fence")
        }
        for id in owned {
          state.issued.insert(id)
          state.inFlight.insert(id)
        }
        state.hasInFlight = true
        return
      }
      if state.hasInFlight, let value = touched(by: node, in: state.inFlight) {
        report.add(
          rule, at: node.location,
          "registers of a wgmma must rest until its group is waited for",
          found: "\(report.name(value)) touched by \(node.op.mnemonic)",
          remedy: "Wait for the group first, or use other registers.")
      }
      if !node.operands.isEmpty || node.op != .movement(.variable) {
        for id in node.results { state.written.insert(id) }
      }
    }

    private func touched(by node: Node, in set: ValueSet) -> ValueID? {
      for operand in node.operands {
        if let id = operand.valueID, set.contains(id) { return id }
      }
      return node.results.first(where: set.contains)
    }
  }
}
