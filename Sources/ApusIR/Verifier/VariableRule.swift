/// Only `variable` declares variables, only `assign` and in-place ops write them, and they write
/// nothing else; accumulators of one op are distinct; a variable that is read is written somewhere
/// or has an initial value.
enum VariableRule: VerifierRule {
  static let rule = Diagnostic.Rule.variables

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    var written = ValueSet()
    kernel.body.forEachNode { node, _ in
      let writesVariables =
        switch node.op {
        case .movement(.variable), .movement(.assign): true
        default: node.op.inPlaceCount > 0
        }
      let accumulates = node.op.inPlaceCount > 0
      for id in node.results where (kernel[id].kind == .variable) != writesVariables {
        report.add(
          rule, at: node.location,
          "\(node.op.mnemonic) must write \(writesVariables ? "a variable" : "a fresh value")",
          found: "\(report.name(id)), which is \(kernel[id].kind)",
          remedy: writesVariables ? nil : "Assign the result to the variable.")
      }
      if !node.operands.isEmpty || node.op != .movement(.variable) {
        for id in node.results { written.insert(id) }
      }
      guard accumulates else { return }
      var distinct = ValueSet()
      for id in node.results { distinct.insert(id) }
      let repeated = node.results.count - distinct.count
      if repeated > 0 {
        report.add(
          rule, at: node.location, "accumulators of \(node.op.mnemonic) must be distinct",
          found: "\(repeated) repeated")
      }
    }
    kernel.body.forEachNode { node, _ in
      for operand in node.operands {
        guard let id = operand.valueID, kernel[id].kind == .variable, !written.contains(id)
        else { continue }
        report.add(
          rule, at: node.location, "\(report.name(id)) must be written before it is read",
          found: "no initial value and no write in the kernel")
      }
    }
  }
}
