/// Every node matches a signature of its op (`Op.signatures`), parameter reads fit the parameter,
/// and in-place ops repeat their variables as results.
struct TypeRule: NodeRule {
  static let rule = Diagnostic.Rule.types

  private var table = SignatureTable()

  mutating func check(_ node: Node, in kernel: KernelIR, _ report: inout Report) {
    let signatures = table.signatures(of: node)
    if !signatures.contains(where: { $0.matches(node, kernel.values) }) {
      let found = Signature(
        node.operands.map { .fixed(kernel.type(of: $0)) },
        node.results.map { .fixed(kernel[$0].type) })
      report.add(
        Self.rule, at: node.location,
        "\(node.op.mnemonic) must be "
          + signatures.map(\.description).joined(separator: " or "), found: "\(found)")
      return
    }
    Self.checkParameter(node, in: kernel, &report)
    Self.checkInPlace(node, &report)
  }

  private static func checkParameter(
    _ node: Node, in kernel: KernelIR, _ report: inout Report
  ) {
    switch node.op {
    case .memory(.parameter(let id, let offset)):
      let parameter = kernel.parameters[id.index]
      guard let type = node.results.first.map({ kernel[$0].type }) else { return }
      let fits =
        switch parameter.kind {
        case .scalar(let scalar): offset == 0 && type == scalar
        case .pointer: offset == 0 && type == .u64
        case .tensorMap: false
        case .bytes(let count, _):
          offset >= 0 && offset + type.bitWidth / 8 <= count && offset % (type.bitWidth / 8) == 0
        }
      if !fits {
        report.add(
          rule, at: node.location, "ld.param must read a field of \(parameter.name)",
          found: "\(type) at offset \(offset) of \(parameter.kind)")
      }
    case .memory(.parameterAddress(let id)):
      switch kernel.parameters[id.index].kind {
      case .tensorMap, .bytes: break
      case .scalar, .pointer:
        report.add(
          rule, at: node.location, "address.param must name a tensor map or bytes",
          found: "\(kernel.parameters[id.index].kind)",
          remedy: "Read the parameter with ld.param.")
      }
    default: break
    }
  }

  private static func checkInPlace(_ node: Node, _ report: inout Report) {
    let count = node.op.inPlaceCount
    guard count > 0 else { return }
    if node.operands.prefix(count).map(\.valueID) != node.results.map(Optional.some) {
      report.add(
        rule, at: node.location,
        "\(node.op.mnemonic) must give the accumulators it takes, in order",
        found: node.results.map { report.name($0) }.joined(separator: ", "))
    }
  }
}
