/// Only `variable` declares variables, only `assign` and in-place ops write them, and they write
/// nothing else; accumulators of one op are distinct; a variable that is read is written somewhere
/// or has an initial value.
struct VariableRule: NodeRule {
  static let rule = Diagnostic.Rule.variables

  private var written = ValueSet()
  private var read = ValueSet()

  mutating func check(_ node: Node, in kernel: KernelIR, _ report: inout Report) {
    for operand in node.operands {
      if let id = operand.valueID, kernel.values[id.index].kind == .variable { read.insert(id) }
    }
    guard !node.results.isEmpty else { return }
    let accumulates = node.op.inPlaceCount > 0
    let isDeclaration = node.op == .movement(.variable)
    let writesVariables = accumulates || isDeclaration || node.op == .movement(.assign)
    for id in node.results where (kernel.values[id.index].kind == .variable) != writesVariables {
      report.add(
        Self.rule, at: node.location,
        "\(node.op.mnemonic) must write \(writesVariables ? "a variable" : "a fresh value")",
        found: "\(report.name(id)), which is \(kernel[id].kind)",
        remedy: writesVariables ? nil : "Assign the result to the variable.")
    }
    if !node.operands.isEmpty || !isDeclaration {
      for id in node.results where kernel.values[id.index].kind == .variable {
        written.insert(id)
      }
    }
    guard accumulates else { return }
    var distinct = ValueSet()
    for id in node.results { distinct.insert(id) }
    let repeated = node.results.count - distinct.count
    if repeated > 0 {
      report.add(
        Self.rule, at: node.location, "accumulators of \(node.op.mnemonic) must be distinct",
        found: "\(repeated) repeated")
    }
  }

  func finish(_ kernel: KernelIR, _ report: inout Report) {
    guard !read.isSubset(of: written) else { return }
    kernel.body.forEachNode { node, _ in
      for operand in node.operands {
        guard let id = operand.valueID, kernel[id].kind == .variable, !written.contains(id)
        else { continue }
        report.add(
          Self.rule, at: node.location, "\(report.name(id)) must be written before it is read",
          found: "no initial value and no write in the kernel")
      }
    }
  }
}
