/// Replaces pure nodes whose result is known by constants or by one of their operands.
///
/// Front ends build from parameters that are Swift values, so sums with 0, products with 1,
/// copies and branches on known predicates are common; each costs a line of PTX and hides equal
/// expressions from the next pass.
///
/// Why it is right: `ConstantEvaluator` computes what `Op` specifies, and nothing where `Op`
/// leaves freedom. Identities are used for integers and predicates only where they hold for every
/// operand (x + 0, x − 0, x · 1, x · 0, x & x, shifts by 0, …); for f32, x · 1 is one (NaN payloads
/// are unspecified anyway) and x + 0 is not (−0 + 0 = +0). An operand that is a variable is never
/// put in place of a result: the variable may change before the result is read. Register operands
/// of `wgmma` keep their own node: they must rest while in flight. A branch on a constant becomes
/// the region it takes: scopes only widen, and each value keeps its one definition. What follows an
/// exit or a break that is always taken never runs and goes.
public enum ConstantFolding: Pass {
  /// The name in listings.
  public static let name = "constant folding"

  /// Folds the kernel.
  public static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts) {
    var folder = Folder(kernel, facts)
    folder.fold(&kernel.body)
  }

  private struct Folder {
    let values: [ValueInfo]
    let resting: ValueSet
    var substitution: Substitution

    init(_ kernel: KernelIR, _ facts: KernelFacts) {
      values = kernel.values
      resting = facts.resting
      substitution = Substitution(for: kernel)
    }

    mutating func fold(_ region: inout Region) {
      var kept = 0
      var index = 0
      while index < region.nodes.count {
        substitution.apply(to: &region.nodes[index])
        switch fate(of: region.nodes[index]) {
        case .replaced(let result, let operand):
          substitution.replace(result, by: operand)
          index += 1
          continue
        case .neverRuns:
          index += 1
          continue
        case .branch(let taken):
          region.nodes.replaceSubrange(index...index, with: taken.nodes)
          continue
        case .nested:
          for inner in region.nodes[index].regions.indices {
            fold(&region.nodes[index].regions[inner])
          }
        case .stays: break
        }
        let isLast = endsRegion(region.nodes[index])
        if kept != index { region.nodes.swapAt(kept, index) }
        kept += 1
        index += 1
        if isLast { break }
      }
      region.nodes.removeSubrange(kept...)
    }

    /// What becomes of a node.
    private enum Fate {
      case replaced(ValueID, by: Operand)
      case neverRuns
      case branch(taken: Region)
      case nested
      case stays
    }

    private func fate(of node: Node) -> Fate {
      if let (result, operand) = replacement(of: node) { return .replaced(result, by: operand) }
      guard case .control = node.op else { return .stays }
      if isNeverTaken(node) { return .neverRuns }
      if let taken = takenRegion(of: node) { return .branch(taken: taken) }
      return node.hasRegions ? .nested : .stays
    }

    private func endsRegion(_ node: Node) -> Bool {
      switch node.op {
      case .control(.exit), .control(.trap): true
      case .control(.breakIf), .control(.continueIf):
        node.operands.first?.constant?.bits == 1
      default: false
      }
    }

    private func isNeverTaken(_ node: Node) -> Bool {
      switch node.op {
      case .control(.breakIf), .control(.continueIf):
        node.operands.first?.constant?.bits == 0
      default: false
      }
    }

    /// The region that an `if` on a constant takes; an absent else is an empty one.
    private func takenRegion(of node: Node) -> Region? {
      guard case .control(.if) = node.op, let predicate = node.operands.first?.constant else {
        return nil
      }
      if predicate.bits == 1 { return node.regions[0] }
      return node.regions.count > 1 ? node.regions[1] : Region()
    }

    private func replacement(of node: Node) -> (result: ValueID, operand: Operand)? {
      guard node.results.count == 1, node.op.isPure, !resting.contains(node.results[0]) else {
        return nil
      }
      let type = values[node.results[0].index].type
      if !node.operands.isEmpty, node.operands.allSatisfy({ $0.constant != nil }),
        let constant = ConstantEvaluator.evaluate(
          node.op, node.operands.compactMap(\.constant), type: type)
      {
        return (node.results[0], .constant(constant))
      }
      guard let operand = identity(node, type: type), values.isImmutable(operand),
        values.type(of: operand) == type
      else { return nil }
      return (node.results[0], operand)
    }

    /// The operand that the result equals for every content of the others.
    private func identity(_ node: Node, type: ValueType) -> Operand? {
      let operands = node.operands
      func isConstant(_ index: Int, _ bits: UInt64) -> Bool {
        operands[index].constant?.bits == bits
      }
      let ones = Constant(type: type, bits: .max).bits
      switch node.op {
      case .movement(.copy), .movement(.bitcast): return operands[0]
      case .movement(.select):
        if operands[1] == operands[2] { return operands[1] }
        return operands[0].constant.map { operands[$0.bits == 1 ? 1 : 2] }
      case .arithmetic(.mul) where type == .f32:
        let one = UInt64(Float(1).bitPattern)
        return isConstant(1, one) ? operands[0] : isConstant(0, one) ? operands[1] : nil
      case .arithmetic(.add) where type.isInteger:
        return isConstant(1, 0) ? operands[0] : isConstant(0, 0) ? operands[1] : nil
      case .arithmetic(.sub) where type.isInteger: return isConstant(1, 0) ? operands[0] : nil
      case .arithmetic(.mul) where type.isInteger:
        if isConstant(1, 1) || isConstant(0, 0) { return operands[0] }
        return isConstant(0, 1) || isConstant(1, 0) ? operands[1] : nil
      case .arithmetic(.div) where type.isInteger: return isConstant(1, 1) ? operands[0] : nil
      case .bits(.shl), .bits(.shr): return isConstant(1, 0) ? operands[0] : nil
      case .bits(.and):
        if isConstant(1, ones) || isConstant(0, 0) || operands[0] == operands[1] {
          return operands[0]
        }
        return isConstant(0, ones) || isConstant(1, 0) ? operands[1] : nil
      case .bits(.or):
        if isConstant(1, 0) || isConstant(0, ones) || operands[0] == operands[1] {
          return operands[0]
        }
        return isConstant(0, 0) || isConstant(1, ones) ? operands[1] : nil
      case .bits(.xor):
        return isConstant(1, 0) ? operands[0] : isConstant(0, 0) ? operands[1] : nil
      default: return nil
      }
    }
  }
}
