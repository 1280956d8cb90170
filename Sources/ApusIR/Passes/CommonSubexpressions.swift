/// Computes equal pure expressions once.
///
/// Swift code asks for the same thing again and again (a lane's row, a stage's address), since
/// elaboration-time functions know nothing of each other.
///
/// Why it is right: two pure nodes with the same op, the same operands and the same result types
/// give the same results if the operands hold the same content at both: constants and immutable
/// values do, variables may not, so nodes that read variables are left alone. The first node must
/// dominate the second: the table of known expressions is passed down into nested regions and
/// forgotten when a region ends, which is dominance in structured code. The first node's lanes are
/// a superset of the second's, as lanes only become fewer towards the inside and towards the end
/// of a region. Register operands of `wgmma` are never shared: they must rest while in flight.
public enum CommonSubexpressions: Pass {
  /// The name in listings.
  public static let name = "common subexpressions"

  /// The kernel with equal expressions merged.
  public static func run(_ kernel: KernelIR) -> KernelIR {
    var substitution = Substitution()
    var result = kernel
    let resting = kernel.wgmmaRegisterOperands
    result.body = merge(kernel.body, known: [:], &substitution, of: kernel, resting)
    return result
  }

  private struct Expression: Hashable {
    let op: Op
    let operands: [Operand]
    let types: [ValueType]
  }

  private static func merge(
    _ region: Region, known outer: [Expression: [ValueID]], _ substitution: inout Substitution,
    of kernel: KernelIR, _ resting: Set<ValueID>
  ) -> Region {
    var known = outer
    var nodes: [Node] = []
    nodes.reserveCapacity(region.nodes.count)
    for var node in region.nodes {
      substitution.apply(to: &node)
      if node.op.isPure, resting.isDisjoint(with: node.results),
        node.operands.allSatisfy(kernel.isImmutable)
      {
        let expression = Expression(
          op: node.op, operands: node.operands, types: node.results.map { kernel[$0].type })
        if let earlier = known[expression] {
          for (result, value) in zip(node.results, earlier) {
            substitution.replace(result, by: .value(value))
          }
          continue
        }
        known[expression] = node.results
      }
      node.regions = node.regions.map {
        merge($0, known: known, &substitution, of: kernel, resting)
      }
      nodes.append(node)
    }
    return Region(nodes)
  }
}
