/// Register budgets are legal and sufficient: a role's budget is a multiple of 8 for whole
/// warpgroups, all budgets together fit what the block gets at entry (`threads` times
/// `registersAtEntry`: 64,512 of 65,536 for 384 threads), and the predicted need of each role that holds fragments stays within its budget.
enum RegisterRule: VerifierRule {
  static let rule = Diagnostic.Rule.registers

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    let usesBudgets = report.target >= .sm90a
    for node in kernel.body.nodes {
      guard usesBudgets, case .control(.roles(let roles)) = node.op else { continue }
      check(roles, of: kernel, at: node.location, &report)
    }
    guard report.census.hasAccumulators else { return }
    for estimate in kernel.registerEstimates {
      let budget = usesBudgets ? estimate.budget : kernel.launch.registersAtEntry
      let hasFragments = estimate.accumulators + estimate.operands > 0
      if hasFragments, estimate.total > budget {
        report.add(
          rule, "fragments of \(estimate.role ?? "the kernel") must fit \(budget) registers",
          found: estimate.description, remedy: "Use a smaller tile or fewer threads.")
      }
    }
  }

  private static func check(
    _ roles: [Role], of kernel: KernelIR, at location: SourceLocation, _ report: inout Report
  ) {
    var registers = 0
    var threads = 0
    for role in roles {
      threads += role.threadCount
      guard let budget = role.registers else {
        registers += role.threadCount * kernel.launch.registersAtEntry
        continue
      }
      registers += role.threadCount * budget
      if budget % 8 != 0 || !(24...256).contains(budget) {
        report.add(
          rule, at: location, "registers of role \(role.name) must be a multiple of 8 in 24…256",
          found: "\(budget)")
      }
      if role.warps.lowerBound % 4 != 0 || role.warps.count % 4 != 0 {
        report.add(
          rule, at: location,
          "role \(role.name) must have whole warpgroups to change its registers",
          found: "warps \(role.warps)")
      }
    }
    registers += (kernel.launch.threads - threads) * kernel.launch.registersAtEntry
    let available = kernel.launch.threads * kernel.launch.registersAtEntry
    if roles.contains(where: { $0.registers != nil }), registers > available {
      report.add(
        rule, at: location, "registers of all roles must fit \(available)",
        found: "\(registers)", remedy: "Lower a budget: an increase would wait forever.")
    }
  }
}
