public import ApusCore

/// What a merge means, before anything is rounded.
public struct MergeResult: Sendable, Hashable {
  /// `[rows, head, dim]`, row-major.
  public var v: [Double]
  /// `[rows, head]`, row-major, in the convention of the arguments.
  public var s: [Double]

  /// A result of the given values.
  public init(v: [Double], s: [Double]) {
    self.v = v
    self.s = s
  }
}

/// One attention state as it is stored.
private struct State {
  let v: [Double]
  let s: Double

  init(_ v: TensorView, _ s: TensorView, at index: [Int]) {
    self.v = HostTensor(v).row(index).map(Double.init)
    self.s = HostTensor(s).value(index)
  }
}

extension Reference {
  /// Merge of attention states over disjoint sets of keys, in float64 (arXiv 2501.01005, §2.2).
  ///
  /// With `b` the base of the convention, over the states that are not empty:
  /// ```
  /// m = max_i s_i,  w_i = b^(s_i − m),  v = (Σ_i w_i·v_i) / Σ_i w_i,  s = m + log_b Σ_i w_i
  /// ```
  /// An empty state, one whose s is −∞ or the convention's value of an empty row, takes no part,
  /// whatever its v holds; without any other state v = 0 and s is the convention's empty value.
  /// Otherwise IEEE 754 holds: a NaN in s, or +∞ where it does not mean empty, makes v and s NaN.
  /// In place, a row whose mask byte is 0 keeps v and s. Nothing is written.
  ///
  /// - Throws: `ArgumentError` with every violation.
  public static func merge(_ arguments: MergeArguments) throws(ArgumentError) -> MergeResult {
    try arguments.validate(memory: .host, operation: "Reference.merge")
    let (rows, heads, width) = outputShape(arguments.states)
    var result = MergeResult(v: [], s: [])
    for row in 0..<rows {
      for head in 0..<heads {
        let merged =
          kept(arguments.states, row, head)
          ?? merge(states(arguments.states, row, head), arguments.convention, width: width)
        result.v += merged.v
        result.s.append(merged.s)
      }
    }
    return result
  }

  private static func outputShape(
    _ states: MergeArguments.States
  ) -> (rows: Int, heads: Int, width: Int) {
    switch states {
    case .two(_, _, _, _, let v, _), .inPlace(let v, _, _, _, _), .many(_, _, let v, _):
      (v.shape[0], v.shape[1], v.shape[2])
    }
  }

  /// The state that a mask protects, or nil.
  private static func kept(
    _ states: MergeArguments.States, _ row: Int, _ head: Int
  ) -> (v: [Double], s: Double)? {
    guard case .inPlace(let v, let s, _, _, let mask?) = states,
      HostTensor(mask).byte([row]) == 0
    else { return nil }
    let state = State(v, s, at: [row, head])
    return (state.v, state.s)
  }

  private static func states(
    _ states: MergeArguments.States, _ row: Int, _ head: Int
  ) -> [State] {
    switch states {
    case .two(let aV, let aS, let bV, let bS, _, _):
      [State(aV, aS, at: [row, head]), State(bV, bS, at: [row, head])]
    case .inPlace(let v, let s, let otherV, let otherS, _):
      [State(v, s, at: [row, head]), State(otherV, otherS, at: [row, head])]
    case .many(let states, let logits, _, _):
      (0..<states.shape[1]).map { State(states, logits, at: [row, $0, head]) }
    }
  }

  private static func merge(
    _ states: [State], _ convention: LSEConvention, width: Int
  ) -> (v: [Double], s: Double) {
    let emptyValue = convention.emptyRow == .negativeInfinity ? -Double.infinity : .infinity
    let present = states.filter { $0.s != -.infinity && $0.s != emptyValue }
    var v = [Double](repeating: 0, count: width)
    guard !present.isEmpty else { return (v, emptyValue) }
    var m = -Double.infinity
    // NaN compares false: it does not become the maximum but makes its own weight NaN below.
    for state in present where state.s > m { m = state.s }
    let weights = present.map {
      convention.base == .two ? Math.exp2($0.s - m) : Math.exp($0.s - m)
    }
    var d = 0.0
    for weight in weights { d += weight }
    for e in 0..<width {
      for (weight, state) in zip(weights, present) { v[e] += weight * state.v[e] }
      v[e] /= d
    }
    return (v, m + (convention.base == .two ? Math.log2(d) : Math.log(d)))
  }
}
