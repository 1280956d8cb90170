/// The target has every instruction of the kernel (`Node.requirements`), and clusters if it uses
/// them.
struct TargetRule: NodeRule {
  static let rule = Diagnostic.Rule.target

  func begin(_ kernel: KernelIR, _ report: inout Report) {
    let target = report.target
    guard kernel.launch.clusterSize > 1, target < .sm90a else { return }
    report.add(
      Self.rule, "clusterSize must be 1 on \(target)", found: "\(kernel.launch.clusterSize)",
      remedy: "Clusters need sm_90a.")
  }

  func check(_ node: Node, in kernel: KernelIR, _ report: inout Report) {
    let needed = node.requirements(values: kernel.values)
    guard needed.target > report.target else { return }
    report.add(
      Self.rule, at: node.location, "\(report.target) must have every instruction",
      found: "\(node.op.mnemonic), which needs \(needed.target)")
  }
}
