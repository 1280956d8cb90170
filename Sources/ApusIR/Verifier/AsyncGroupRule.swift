/// Asynchronous groups are closed and waited for: what is issued is committed, what is committed
/// is waited for, and a wait has groups to wait for.
///
/// The first two are counted over the whole kernel. Waits are followed along the paths of each role
/// (`GroupPaths`): one that leaves as many groups pending as any path to it has committed covers
/// none, in no round of any loop. A wait that an earlier one makes superfluous is no mistake.
enum AsyncGroupRule: VerifierRule {
  static let rule = Diagnostic.Rule.asyncGroups

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    guard report.census.hasCopyGroups || report.census.hasAsyncProducts else { return }
    var async = Family()
    var bulk = Family()
    var products = Family()
    var asyncArrive: SourceLocation?
    kernel.body.forEachNode { node, _ in
      let place = node.location
      switch node.op {
      case .copy(.async): async.issue = async.issue ?? place
      case .copy(.asyncCommit): async.commit = async.commit ?? place
      case .copy(.asyncWait): async.wait = async.wait ?? place
      case .copy(.asyncArrive): asyncArrive = asyncArrive ?? place
      case .copy(.bulkStore), .copy(.tensorStore): bulk.issue = bulk.issue ?? place
      case .copy(.bulkCommit): bulk.commit = bulk.commit ?? place
      case .copy(.bulkWait): bulk.wait = bulk.wait ?? place
      case .tensorCore(.wgmma): products.issue = products.issue ?? place
      case .tensorCore(.wgmmaCommit): products.commit = products.commit ?? place
      case .tensorCore(.wgmmaWait): products.wait = products.wait ?? place
      default: break
      }
    }
    if async.commit != nil || async.wait != nil || asyncArrive == nil {
      async.check("cp.async", &report)
    }
    bulk.check("cp.async.bulk", &report)
    products.check("wgmma", &report)
    guard !report.diagnostics.contains(where: { $0.rule == rule }) else { return }
    for wait in GroupPaths.hollowWaits(of: kernel) {
      report.add(
        rule, at: wait.place,
        "\(wait.family.rawValue).wait_group must leave fewer groups pending than are committed "
          + "before it",
        found: "pending \(wait.pending) after at most \(wait.committed)")
    }
  }

  private struct Family {
    var issue: SourceLocation?
    var commit: SourceLocation?
    var wait: SourceLocation?

    func check(_ name: String, _ report: inout Report) {
      if let issue, commit == nil {
        report.add(
          rule, at: issue, "\(name) operations must be committed",
          found: "no \(name).commit_group")
      }
      if let commit {
        if issue == nil {
          report.add(
            rule, at: commit, "a \(name) group must have operations", found: "none in the kernel")
        }
        if wait == nil {
          report.add(
            rule, at: commit, "a \(name) group must be waited for",
            found: "no \(name).wait_group")
        }
      }
      if let wait, commit == nil {
        report.add(
          rule, at: wait, "\(name).wait_group must have a group to wait for",
          found: "no \(name).commit_group")
      }
    }
  }
}
