/// The types an op takes and gives: the typing rules of the language as data.
///
/// An op has one or more signatures; a node is well typed if one matches. `Op.signatures` holds
/// them all; front ends may use them to choose result types, tests to generate nodes.
public struct Signature: Sendable, Hashable {
  /// One operand or result.
  public enum Slot: Sendable, Hashable {
    /// Exactly this type.
    case fixed(ValueType)
    /// Any of these, independent of other slots.
    case of(TypeSet)
    /// The signature's T: the same type in each slot.
    case t
    /// The signature's S: the same type in each slot.
    case s
  }

  /// Operand slots in order.
  public var operands: [Slot]
  /// Result slots in order.
  public var results: [Slot]
  /// What T may be.
  public var t: TypeSet
  /// What S may be.
  public var s: TypeSet

  /// A signature.
  public init(
    _ operands: [Slot], _ results: [Slot] = [], t: TypeSet = .any, s: TypeSet = .any
  ) {
    self.operands = operands
    self.results = results
    self.t = t
    self.s = s
  }

  /// Whether operand and result types fit.
  public func matches(operands: [ValueType], results: [ValueType]) -> Bool {
    guard operands.count == self.operands.count, results.count == self.results.count else {
      return false
    }
    return matches(operand: { operands[$0] }, result: { results[$0] })
  }

  /// Whether the types of a node's values fit.
  func matches(_ node: Node, _ values: [ValueInfo]) -> Bool {
    guard node.operands.count == operands.count, node.results.count == results.count else {
      return false
    }
    return matches(
      operand: { values.type(of: node.operands[$0]) },
      result: { values[node.results[$0].index].type })
  }

  @inline(__always)
  private func matches(
    operand: (Int) -> ValueType, result: (Int) -> ValueType
  ) -> Bool {
    var boundT: ValueType?
    var boundS: ValueType?
    func fits(_ slot: Slot, _ type: ValueType) -> Bool {
      switch slot {
      case .fixed(let fixed): return type == fixed
      case .of(let set): return set.contains(type)
      case .t:
        defer { boundT = type }
        return t.contains(type) && (boundT ?? type) == type
      case .s:
        defer { boundS = type }
        return s.contains(type) && (boundS ?? type) == type
      }
    }
    for index in operands.indices where !fits(operands[index], operand(index)) {
      return false
    }
    for index in results.indices where !fits(results[index], result(index)) {
      return false
    }
    return true
  }
}

extension Signature: CustomStringConvertible {
  /// `(T, u32) → T with T = u32|s32`.
  public var description: String {
    func text(_ slot: Slot) -> String {
      switch slot {
      case .fixed(let type): "\(type)"
      case .of(let set): "\(set)"
      case .t: "T"
      case .s: "S"
      }
    }
    func list(_ slots: [Slot]) -> String {
      var parts: [String] = []
      var index = 0
      while index < slots.count {
        let run = slots[index...].prefix { $0 == slots[index] }.count
        parts.append(run < 4 ? text(slots[index]) : "\(run) × \(text(slots[index]))")
        index += run < 4 ? 1 : run
      }
      return "(\(parts.joined(separator: ", ")))"
    }
    let all = operands + results
    let bounds =
      (all.contains(.t) ? ["T = \(t)"] : []) + (all.contains(.s) ? ["S = \(s)"] : [])
    return "\(list(operands)) → \(list(results))"
      + (bounds.isEmpty ? "" : " with \(bounds.joined(separator: ", "))")
  }
}
