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

  /// Merges the kernel's equal expressions.
  public static func apply(to kernel: inout KernelIR) {
    var merger = Merger(kernel)
    merger.merge(&kernel.body)
  }

  /// A computed expression. Its key is a mixture of operands and op; equality decides.
  private struct Expression {
    let op: Op
    let operands: [Operand]
    let results: [ValueID]

    static func key(_ node: Node, _ type: ValueType?) -> UInt64 {
      func mix(_ key: UInt64, _ bits: UInt64) -> UInt64 {
        let product = (key ^ bits) &* 0x9E37_79B9_7F4A_7C15
        return product ^ product >> 29
      }
      var key = mix(UInt64(type?.rawValue ?? 0), node.op.groupNumber)
      for operand in node.operands {
        switch operand {
        case .value(let id): key = mix(key, UInt64(truncatingIfNeeded: id.index) << 1)
        case .constant(let constant):
          key = mix(key, constant.bits << 1 | 1)
          key = mix(key, UInt64(constant.type.rawValue))
        }
      }
      // Operands tell most expressions apart; without any, the op's details do.
      if !node.operands.isEmpty { return key }
      var hasher = Hasher()
      hasher.combine(node.op)
      return mix(key, UInt64(truncatingIfNeeded: hasher.finalize()))
    }
  }

  private struct Merger {
    let values: [ValueInfo]
    let resting: ValueSet
    var substitution: Substitution
    /// Expressions of this region and those around it; of unequal ones with equal keys the last.
    var known: [UInt64: Expression] = [:]

    init(_ kernel: KernelIR) {
      values = kernel.values
      resting = kernel.wgmmaRegisterOperands
      substitution = Substitution(for: kernel)
      known.reserveCapacity(values.count)
    }

    mutating func merge(_ region: inout Region, isNested: Bool = false) {
      var replaced: [(key: UInt64, before: Expression?)] = []
      region.filterNodes { node in
        substitution.apply(to: &node)
        if node.op.isPure, !node.results.contains(where: resting.contains),
          node.operands.allSatisfy(values.isImmutable)
        {
          let key = Expression.key(node, node.results.first.map { values[$0.index].type })
          let earlier = known[key]
          if let earlier, isEqual(earlier, node) {
            for (result, value) in zip(node.results, earlier.results) {
              substitution.replace(result, by: .value(value))
            }
            return false
          }
          known[key] = Expression(op: node.op, operands: node.operands, results: node.results)
          if isNested { replaced.append((key, earlier)) }
        }
        for index in node.regions.indices { merge(&node.regions[index], isNested: true) }
        return true
      }
      for (key, before) in replaced.reversed() { known[key] = before }
    }

    private func isEqual(_ earlier: Expression, _ node: Node) -> Bool {
      earlier.operands == node.operands && earlier.op == node.op
        && earlier.results.count == node.results.count
        && zip(earlier.results, node.results).allSatisfy {
          values[$0.index].type == values[$1.index].type
        }
    }
  }
}

extension Op {
  /// A number per group and, in the groups of pure ops, per case: a cheap part of a key.
  fileprivate var groupNumber: UInt64 {
    switch self {
    case .movement: 1
    case .arithmetic(let op): 16 + op.number
    case .bits(let op): 48 + op.number
    case .conversion: 2
    case .special: 3
    case .memory: 4
    case .warp, .synchronisation, .copy, .tensorCore, .control: 5
    }
  }
}

extension Op.Arithmetic {
  fileprivate var number: UInt64 {
    switch self {
    case .add: 0
    case .sub: 1
    case .mul: 2
    case .fma: 3
    case .mad: 4
    case .max: 5
    case .min: 6
    case .approximate: 7
    default: 8
    }
  }
}

extension Op.Bits {
  fileprivate var number: UInt64 {
    switch self {
    case .and: 0
    case .or: 1
    case .xor: 2
    case .shl: 3
    case .shr: 4
    case .setp: 5
    default: 6
    }
  }
}
