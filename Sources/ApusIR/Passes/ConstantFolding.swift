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

  /// The folded kernel.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var folder = Folder(kernel: kernel)
    var result = kernel
    result.body = folder.fold(kernel.body)
    return result
  }

  private struct Folder {
    let kernel: KernelIR
    let resting: Set<ValueID>
    var substitution = Substitution()

    init(kernel: KernelIR) {
      self.kernel = kernel
      resting = kernel.wgmmaRegisterOperands
    }

    mutating func fold(_ region: Region) -> Region {
      var nodes: [Node] = []
      nodes.reserveCapacity(region.nodes.count)
      for var node in region.nodes {
        substitution.apply(to: &node)
        if let result = node.results.first, node.results.count == 1, node.op.isPure,
          !resting.contains(result),
          let operand = replacement(of: node, type: kernel[result].type)
        {
          substitution.replace(result, by: operand)
          continue
        }
        if isNeverTaken(node) { continue }
        if let region = takenRegion(of: node) {
          nodes += fold(region).nodes
        } else {
          node.regions = node.regions.map { fold($0) }
          nodes.append(node)
        }
        if let last = nodes.last, endsRegion(last) { break }
      }
      return Region(nodes)
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

    private func replacement(of node: Node, type: ValueType) -> Operand? {
      let constants = node.operands.compactMap(\.constant)
      if !constants.isEmpty, constants.count == node.operands.count,
        let constant = ConstantEvaluator.evaluate(node.op, constants, type: type)
      {
        return .constant(constant)
      }
      guard let operand = identity(node, type: type), kernel.isImmutable(operand),
        kernel.type(of: operand) == type
      else { return nil }
      return operand
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
