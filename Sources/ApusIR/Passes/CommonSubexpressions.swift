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
  public static func apply(to kernel: inout KernelIR, knowing facts: KernelFacts) {
    var merger = Merger(kernel, facts)
    merger.merge(&kernel.body)
  }

  /// A mixture of a node's operands and op. Equality decides.
  fileprivate static func key(_ node: Node, _ type: ValueType?) -> UInt64 {
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

  /// Computed expressions by key; of unequal ones with equal keys the last. Open addressing: a place
  /// that was taken keeps its key, so that searches go on behind it.
  private struct Table {
    /// Numbers of expressions, -1 for none.
    private var numbers: [Int32]
    private var keys: [UInt64]
    private(set) var expressions: [Node] = []
    private let mask: Int

    /// - Parameter count: so many keys and no more are kept.
    init(count: Int) {
      var size = 64
      while size < 2 * count { size *= 2 }
      numbers = Array(repeating: -1, count: size)
      keys = Array(repeating: 0, count: size)
      mask = size - 1
    }

    /// The place of a key, which may be empty.
    func place(of key: UInt64) -> Int {
      // 0 marks places that were never taken.
      let key = key | 1
      var place = Int(truncatingIfNeeded: key >> 8) & mask
      while keys[place] != key, keys[place] != 0 { place = (place + 1) & mask }
      return place
    }

    func number(at place: Int) -> Int32 { numbers[place] }

    mutating func put(_ number: Int32, at place: Int) { numbers[place] = number }

    mutating func put(_ node: Node, key: UInt64, at place: Int) {
      guard expressions.count < mask / 2 else { return }
      keys[place] = key | 1
      numbers[place] = Int32(truncatingIfNeeded: expressions.count)
      expressions.append(node)
    }
  }

  private struct Merger {
    let values: [ValueInfo]
    let resting: ValueSet
    let hasResting: Bool
    var substitution: Substitution
    /// Expressions of this region and those around it.
    var known: Table

    init(_ kernel: KernelIR, _ facts: KernelFacts) {
      values = kernel.values
      resting = facts.resting
      hasResting = !resting.isEmpty
      substitution = Substitution(for: kernel)
      // Each expression is a node with a result, and each value is the result of one node.
      known = Table(count: values.count + 1)
    }

    mutating func merge(_ region: inout Region, isNested: Bool = false) {
      var replaced: [(place: Int, before: Int32)] = []
      var kept = 0
      for index in region.nodes.indices {
        guard keeps(&region.nodes[index], isNested, &replaced) else { continue }
        if kept != index { region.nodes.swapAt(kept, index) }
        kept += 1
      }
      region.nodes.removeSubrange(kept...)
      for (place, before) in replaced.reversed() { known.put(before, at: place) }
    }

    /// Whether the node stays; places of the table that it takes from others are noted.
    private mutating func keeps(
      _ node: inout Node, _ isNested: Bool, _ replaced: inout [(place: Int, before: Int32)]
    ) -> Bool {
      substitution.apply(to: &node)
      if let key = shareableKey(node) {
        let place = known.place(of: key)
        let earlier = known.number(at: place)
        if earlier >= 0, isEqual(known.expressions[Int(earlier)], node) {
          replaceResults(of: node, by: known.expressions[Int(earlier)])
          return false
        }
        known.put(node, key: key, at: place)
        if isNested { replaced.append((place, earlier)) }
      }
      guard node.hasRegions else { return true }
      for index in node.regions.indices { merge(&node.regions[index], isNested: true) }
      return true
    }

    /// The key of a node that may be shared; nil for others.
    private func shareableKey(_ node: Node) -> UInt64? {
      guard node.op.isPure, let first = node.results.first else { return nil }
      for operand in node.operands where !values.isImmutable(operand) { return nil }
      if hasResting { for id in node.results where resting.contains(id) { return nil } }
      return CommonSubexpressions.key(node, values[first.index].type)
    }

    private mutating func replaceResults(of node: Node, by earlier: Node) {
      for (result, value) in zip(node.results, earlier.results) {
        substitution.replace(result, by: .value(value))
      }
    }

    private func hasEqualTypes(_ left: [ValueID], _ right: [ValueID]) -> Bool {
      guard left.count == right.count else { return false }
      for place in left.indices
      where values[left[place].index].type != values[right[place].index].type {
        return false
      }
      return true
    }

    private func isEqual(_ earlier: Node, _ node: Node) -> Bool {
      earlier.operands == node.operands && earlier.op == node.op
        && hasEqualTypes(earlier.results, node.results)
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
