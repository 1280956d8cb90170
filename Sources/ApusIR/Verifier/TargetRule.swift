/// The target has every instruction of the kernel (`Node.requirements`), and clusters if it uses
/// them.
enum TargetRule: VerifierRule {
  static let rule = Diagnostic.Rule.target

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    let target = report.target
    if kernel.launch.clusterSize > 1, target < .sm90a {
      report.add(
        rule, "clusterSize must be 1 on \(target)", found: "\(kernel.launch.clusterSize)",
        remedy: "Clusters need sm_90a.")
    }
    kernel.body.forEachNode { node, _ in
      let needed = node.requirements(values: kernel.values)
      guard needed.target > target else { return }
      report.add(
        rule, at: node.location, "\(target) must have every instruction",
        found: "\(node.op.mnemonic), which needs \(needed.target)")
    }
  }
}
