/// Each value is defined by exactly one node and used only after it, inside the region that holds
/// that node or regions nested in it. (A loop does not carry immutable values to its next round;
/// variables do that.)
enum DefinitionRule: VerifierRule {
  static let rule = Diagnostic.Rule.definitions

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    var scope = Scope(kernel: kernel)
    scope.walk(kernel.body, &report)
  }

  private enum State { case undefined, visible, outOfScope }

  private struct Scope {
    let kernel: KernelIR
    var states: [State]

    init(kernel: KernelIR) {
      self.kernel = kernel
      states = Array(repeating: .undefined, count: kernel.values.count)
    }

    mutating func walk(_ region: Region, _ report: inout Report) {
      var defined: [ValueID] = []
      for node in region.nodes {
        for operand in node.operands {
          if let id = operand.valueID { use(id, in: node, &report) }
        }
        if node.hasRegions {
          for region in node.regions { walk(region, &report) }
        }
        if node.results.isEmpty { continue }
        let rewrites =
          switch node.op {
          case .movement(.assign): true
          case .tensorCore(let op): Op.tensorCore(op).inPlaceCount > 0
          default: false
          }
        for id in node.results {
          if rewrites {
            use(id, in: node, &report)
            continue
          }
          if states[id.index] != .undefined {
            report.add(
              rule, at: node.location, "\(report.name(id)) must be defined once",
              found: "a second definition by \(node.op.mnemonic)",
              remedy: "Declare a variable and assign it.")
          }
          states[id.index] = .visible
          defined.append(id)
        }
      }
      for id in defined { states[id.index] = .outOfScope }
    }

    private func use(_ id: ValueID, in node: Node, _ report: inout Report) {
      switch states[id.index] {
      case .visible: break
      case .undefined:
        report.add(
          rule, at: node.location, "\(report.name(id)) must be defined before its use",
          found: "a use by \(node.op.mnemonic) with no definition before it")
      case .outOfScope:
        report.add(
          rule, at: node.location,
          "\(report.name(id)) must be used inside the region that defines it",
          found: "a use by \(node.op.mnemonic) outside",
          remedy: "Carry it out in a variable declared before the region.")
      }
    }
  }
}
