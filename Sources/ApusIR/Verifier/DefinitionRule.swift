/// Each value is defined by exactly one node and used only after it, inside the region that holds
/// that node or regions nested in it. (A loop does not carry immutable values to its next round;
/// variables do that.)
enum DefinitionRule: VerifierRule {
  static let rule = Diagnostic.Rule.definitions

  static func check(_ kernel: KernelIR, _ report: inout Report) {
    var scope = Scope(valueCount: kernel.values.count)
    scope.walk(kernel.body, &report)
  }

  private enum State { case undefined, visible, outOfScope }

  private struct Scope {
    var states: [State]

    init(valueCount: Int) {
      states = Array(repeating: .undefined, count: valueCount)
    }

    mutating func walk(_ region: Region, _ report: inout Report) {
      var defined: [ValueID] = []
      for index in region.nodes.indices {
        region.nodes[index].unretained { visit($0, &defined, &report) }
      }
      for id in defined { states[id.index] = .outOfScope }
    }

    @inline(__always)
    private mutating func visit(
      _ node: Node, _ defined: inout [ValueID], _ report: inout Report
    ) {
      for operand in node.operands {
        if let id = operand.valueID, states[id.index] != .visible { refuse(id, in: node, &report) }
      }
      if node.hasRegions {
        for region in node.regions { walk(region, &report) }
      }
      if node.results.isEmpty { return }
      let rewrites =
        switch node.op {
        case .movement(.assign): true
        case .tensorCore: node.op.inPlaceCount > 0
        default: false
        }
      for id in node.results {
        if rewrites {
          if states[id.index] != .visible { refuse(id, in: node, &report) }
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

    /// Reports the use of a value that is not visible.
    private func refuse(_ id: ValueID, in node: Node, _ report: inout Report) {
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
