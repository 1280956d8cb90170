/// Only `variable` declares variables, only `assign` and in-place ops write them, and they write
/// nothing else; accumulators of one op are distinct; a variable that is read is written somewhere
/// or has an initial value.
enum VariableRule: VerifierRule {
  static let rule = Diagnostic.Rule.variables

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    var written = Set<ValueID>()
    kernel.body.forEachNode { node, _ in
      let writesVariables =
        node.op == .movement(.variable) || node.op == .movement(.assign)
        || node.op.inPlaceCount > 0
      for id in node.results where (kernel[id].kind == .variable) != writesVariables {
        report.add(
          rule, at: node.location,
          "\(node.op.mnemonic) must write \(writesVariables ? "a variable" : "a fresh value")",
          found: "\(report.name(id)), which is \(kernel[id].kind)",
          remedy: writesVariables ? nil : "Assign the result to the variable.")
      }
      if node.op != .movement(.variable) || !node.operands.isEmpty {
        written.formUnion(node.results)
      }
      if node.op.inPlaceCount > 0, Set(node.results).count != node.results.count {
        report.add(
          rule, at: node.location, "accumulators of \(node.op.mnemonic) must be distinct",
          found: "\(node.results.count - Set(node.results).count) repeated")
      }
    }
    kernel.body.forEachNode { node, _ in
      for id in node.operands.compactMap(\.valueID)
      where kernel[id].kind == .variable && !written.contains(id) {
        report.add(
          rule, at: node.location, "\(report.name(id)) must be written before it is read",
          found: "no initial value and no write in the kernel")
      }
    }
  }
}
