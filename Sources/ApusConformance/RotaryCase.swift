internal import ApusCore
public import ApusNumerics
internal import ApusReference

/// A rotation of q and k.
public struct RotaryCase: Sendable, Hashable, CustomStringConvertible {
  /// Index of the embedding in the axis of embeddings.
  public var rope: Int
  /// Cosines and sines come from a table rather than from frequencies.
  public var hasTable: Bool
  /// Outputs are the inputs.
  public var isInPlace: Bool
  /// Type of q.
  public var q: ElementType
  /// Type of k.
  public var k: ElementType
  /// Rows.
  public var rows: Int
  /// Query heads.
  public var qoHeads: Int
  /// KV heads.
  public var kvHeads: Int
  /// Head dimension.
  public var dim: Int
  /// Gaps in the strides.
  public var hasGaps: Bool
  /// Positions up to this.
  public var greatestPosition: Int

  /// Name of the embedding.
  public var ropeName: String { CaseAxes.ropes[rope].0 }

  /// One line.
  public var description: String {
    "rope: \(ropeName)\(hasTable ? " from a table" : "")\(isInPlace ? ", in place" : ""), q \(q), "
      + "k \(k), rows \(rows), heads \(qoHeads)/\(kvHeads), dim \(dim)\(hasGaps ? ", gaps" : ""), "
      + "positions to \(greatestPosition)"
  }

  /// Draws a case.
  static func generate(_ random: inout CaseRandom, size: CaseSize) -> RotaryCase {
    let isSmall = size == .small
    return RotaryCase(
      rope: random.int(0...CaseAxes.ropes.count - 1), hasTable: random.chance(0.4),
      isInPlace: random.chance(0.5), q: random.pick(CaseAxes.types),
      k: random.pick(CaseAxes.types),
      rows: random.pick(isSmall ? [0, 1, 2, 5] : [0, 1, 2, 5, 33]),
      qoHeads: random.pick([1, 2, 3, 8]), kvHeads: random.pick([1, 2, 3]),
      dim: random.pick(isSmall ? [8, 10, 24] : [8, 10, 24, 64, 96, 128, 256]),
      hasGaps: random.chance(0.4),
      greatestPosition: random.pick([0, 10, 1000, 131_072]))
  }

  /// Runs the case on a back end and compares with the definition.
  ///
  /// Cosine and sine err by 4 units in the last place, two products and a sum by one rounding each:
  /// `8u·(|x₀| + |x₁|)` before rounding to the type. Elements behind `rotaryDim` keep their bits.
  func check(on backend: any Backend, random initial: CaseRandom) -> CaseOutcome {
    var random = initial
    let memory = CaseMemory()
    let spread: CaseMemory.Spread = hasGaps ? .gaps : .dense
    let inputs = [
      memory.tensor("q", ScalarType(q), [rows, qoHeads, dim], spread: spread),
      memory.tensor("k", ScalarType(k), [rows, kvHeads, dim], spread: spread),
    ]
    for view in inputs { view.fillNormal(&random) }
    var outputs = inputs
    if !isInPlace {
      outputs = [
        memory.tensor("qOut", ScalarType(q), [rows, qoHeads, dim]),
        memory.tensor("kOut", ScalarType(k), [rows, kvHeads, dim]),
      ]
    }
    let embedding = CaseAxes.ropes[rope].1
    let rotaryDim = embedding.rotaryDim ?? dim
    var source = RotarySource.frequencies(embedding)
    var last = greatestPosition
    if hasTable {
      last = Swift.min(greatestPosition, 63)
      let table = memory.tensor("table", .f32, [last + 1, rotaryDim], spread: spread)
      table.forEachIndex { table.set(random.real(-1...1), $0) }
      source = .cosSinCache(table, pairing: embedding.pairing)
    }
    let arguments = RotaryArguments(
      q: inputs[0], k: inputs[1], qOut: outputs[0], kOut: outputs[1],
      positions: (0..<rows).map { _ in random.int(0...last) }, source: source)
    let originals = inputs.map(Self.values)
    let dense = inputs.map(Self.bits)
    return withExtendedLifetime(memory) {
      Interruption.outcome { () throws(Interruption) in
        let expected = try Interruption.reference { () throws(ArgumentError) in
          try Reference.rotate(arguments)
        }
        let before = memory.snapshots(except: isInPlace ? ["q", "k"] : ["qOut", "kOut"])
        try Interruption.guarding("rotate") { () throws(ApusError) in
          try backend.rotate(arguments, on: .synchronous)
        }
        var failures = memory.brokenGuards.map { "\($0) was written out of bounds" }
        failures += memory.changed(since: before).map { "\($0) must not be written" }
        var margin = 0.0
        for (which, wanted) in [expected.q, expected.k].enumerated() {
          var comparison = Comparison(which == 0 ? "q" : "k")
          compare(
            outputs[which], wanted, originals[which], dense[which], embedding, rotaryDim,
            &comparison)
          failures += comparison.finish()
          margin = Swift.max(margin, comparison.margin)
        }
        return (failures, margin)
      }
    }
  }

  private func compare(
    _ view: TensorView, _ expected: [Double], _ original: [Float], _ originalBits: [UInt32],
    _ embedding: RotaryEmbedding, _ rotaryDim: Int, _ comparison: inout Comparison
  ) {
    let type = view.elementType ?? .f32
    let limit = Double(type.greatestFiniteMagnitude)
    let half = rotaryDim / 2
    var at = 0
    view.forEachIndex { index in
      let e = index[2]
      let offset = view.offset(index)
      let bits = view.bits(at: offset)
      if e >= rotaryDim {
        if bits != originalBits[at] {
          comparison.fail("\(index): elements behind rotaryDim must keep their bits")
        }
      } else {
        let partner =
          embedding.pairing == .half ? (e < half ? at + half : at - half) : (at - e) + (e ^ 1)
        let size = Double(original[at].magnitude) + Double(original[partner].magnitude)
        let error = 8 * AttentionTolerance.u * size
        let value = expected[at]
        let rounding = 0.5 * type.ulp(of: Swift.min(value.magnitude + error, limit))
        let allowed = error + rounding
        comparison.check(
          "\(index)", found: view.value(at: offset), bits: bits,
          expected: Swift.min(Swift.max(value, -limit), limit),
          allowance: Allowance(worst: allowed, typical: allowed, rounding: rounding))
      }
      at += 1
    }
  }

  private static func values(_ view: TensorView) -> [Float] {
    var result: [Float] = []
    view.forEachIndex { result.append(view.value($0)) }
    return result
  }

  private static func bits(_ view: TensorView) -> [UInt32] {
    var result: [UInt32] = []
    view.forEachIndex { result.append(view.bits(at: view.offset($0))) }
    return result
  }
}
