/// A prediction of the registers each thread of a role needs.
///
/// total = accumulators + operands + reserve. Accumulators are the D variables of products that
/// are in scope at once; operands the A and B registers in scope at once (variables: their whole
/// scope; values: those taken between two waits). The reserve of 25 covers addresses, indices and
/// row statistics; it is the least constant that separates the measured Hopper prefill kernels
/// that spill under a budget from those that do not (S + O + P + Q of 204 ran clean under 240, 216
/// spilled).
public struct RegisterEstimate: Sendable, Hashable, CustomStringConvertible {
  /// The role, or nil for code outside roles.
  public let role: String?
  /// Registers of accumulators.
  public let accumulators: Int
  /// Registers of A and B operands.
  public let operands: Int
  /// Registers each thread may have: the role's budget, else those at entry.
  public let budget: Int

  /// Registers for everything that is no fragment.
  public static let reserve = 25

  /// The prediction.
  public var total: Int { accumulators + operands + Self.reserve }

  /// `consumer: 192 accumulators + 32 operands + 25 = 249 of 240 registers`.
  public var description: String {
    "\(role ?? "kernel"): \(accumulators) accumulators + \(operands) operands + "
      + "\(Self.reserve) = \(total) of \(budget) registers"
  }
}

extension KernelIR {
  /// One estimate for the code outside roles and one per role, which adds those values declared
  /// outside that it uses.
  public var registerEstimates: [RegisterEstimate] {
    var accumulators = ValueSet()
    var operands = ValueSet()
    body.forEachNode { node, _ in
      let count = node.op.inPlaceCount
      guard count > 0 else { return }
      for id in node.results { accumulators.insert(id) }
      for operand in node.operands.dropFirst(count) {
        if let id = operand.valueID, self[id].type.bitWidth == 32 { operands.insert(id) }
      }
    }
    // Most kernels hold no fragments, and counting none is quick.
    let hasFragments = !accumulators.isEmpty || !operands.isEmpty
    var outside = hasFragments ? body : Region()
    var roles: [(role: Role, region: Region)] = []
    for (index, node) in body.nodes.enumerated() {
      guard case .control(.roles(let list)) = node.op else { continue }
      roles = Array(zip(list, node.regions))
      if hasFragments { outside.nodes[index].regions = node.regions.map { _ in Region() } }
    }
    func estimate(
      _ role: String?, _ peaks: [FragmentCounter.Peak], budget: Int
    ) -> RegisterEstimate {
      RegisterEstimate(
        role: role, accumulators: peaks.reduce(0) { $0 + $1.accumulators },
        operands: peaks.reduce(0) { $0 + $1.operands }, budget: budget)
    }
    func isFragment(_ id: ValueID) -> Bool {
      accumulators.contains(id) || operands.contains(id)
    }
    func counter(_ mentioned: ValueSet?) -> FragmentCounter {
      FragmentCounter(
        kernel: self, accumulators: mentioned.map(accumulators.intersection) ?? accumulators,
        operands: mentioned.map(operands.intersection) ?? operands)
    }
    let outsidePeak = counter(nil).peak(outside)
    let base = estimate(nil, [outsidePeak], budget: launch.registersAtEntry)
    return [base]
      + roles.map { role, region in
        guard hasFragments else {
          return estimate(role.name, [], budget: role.registers ?? launch.registersAtEntry)
        }
        if outsidePeak.sum == 0 {
          return estimate(
            role.name, [counter(nil).peak(region)],
            budget: role.registers ?? launch.registersAtEntry)
        }
        var mentioned = ValueSet()
        region.forEachNode { node, _ in
          for operand in node.operands {
            if case .value(let id) = operand, isFragment(id) { mentioned.insert(id) }
          }
          for id in node.results where isFragment(id) { mentioned.insert(id) }
        }
        let own = counter(mentioned)
        return estimate(
          role.name, [own.peak(outside), own.peak(region)],
          budget: role.registers ?? launch.registersAtEntry)
      }
  }
}

/// Counts fragments by scope: what a region declares is held throughout, its nested regions one at
/// a time.
struct FragmentCounter {
  struct Peak {
    var accumulators = 0
    var operands = 0
    var sum: Int { accumulators + operands }
  }

  let kernel: KernelIR
  let accumulators: ValueSet
  let operands: ValueSet

  func peak(_ region: Region) -> Peak {
    var own = Peak()
    var nested = Peak()
    /// Operand values since the last wait; two groups overlap at most between waits.
    var pending = 0
    var mostPending = 0
    for node in region.nodes {
      // Immutable values have one definition, so none is counted twice.
      for id in node.results where operands.contains(id) && kernel[id].kind == .immutable {
        pending += 1
      }
      mostPending = max(mostPending, pending)
      switch node.op {
      case .movement(.variable):
        for id in node.results {
          if accumulators.contains(id) {
            own.accumulators += 1
          } else if operands.contains(id) {
            own.operands += 1
          }
        }
      case .tensorCore(.wgmmaWait), .tensorCore(.mma): pending = 0
      default: break
      }
      guard node.hasRegions else { continue }
      for region in node.regions {
        let inner = peak(region)
        if inner.sum > nested.sum { nested = inner }
      }
    }
    return Peak(
      accumulators: own.accumulators + nested.accumulators,
      operands: own.operands + nested.operands + mostPending)
  }
}
