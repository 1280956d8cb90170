public import ApusCore
public import ApusNumerics
internal import ApusReference

/// A merge of attention states.
public struct MergeCase: Sendable, Hashable, CustomStringConvertible {
  /// Which operator.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// `v = a ⊕ b`.
    case two
    /// `v ← v ⊕ other`, some rows masked out.
    case inPlace = "in place"
    /// Any number of states at once.
    case many
  }

  /// Which operator.
  public var kind: Kind
  /// Type of the states' v.
  public var input: ElementType
  /// Type of the merged v (that of the states in place).
  public var output: ElementType
  /// Rows.
  public var rows: Int
  /// Heads.
  public var heads: Int
  /// Width of v.
  public var width: Int
  /// Number of states for `.many`.
  public var states: Int
  /// Convention of every s.
  public var convention: LSEConvention
  /// Gaps in the strides.
  public var hasGaps: Bool
  /// A mask for `.inPlace`.
  public var hasMask: Bool
  /// Some s are +∞ or NaN: their rows have no mean.
  public var isWild: Bool

  /// One line.
  public var description: String {
    let count = kind == .many ? " of \(states)" : ""
    return "merge: \(kind.rawValue)\(count), \(input) to \(output), rows \(rows), heads \(heads), "
      + "width \(width), \(convention)\(hasGaps ? ", gaps" : "")\(hasMask ? ", mask" : "")"
      + (isWild ? ", wild" : "")
  }

  /// Draws a case.
  static func generate(_ random: inout CaseRandom, size: CaseSize) -> MergeCase {
    let isSmall = size == .small
    let kind = random.pick(Kind.allCases)
    let input = random.pick(CaseAxes.types)
    return MergeCase(
      kind: kind, input: input,
      output: kind == .inPlace ? input : random.pick(CaseAxes.types),
      rows: random.pick(isSmall ? [0, 1, 2, 5] : [0, 1, 2, 5, 33]),
      heads: random.pick([1, 2, 3, 8]),
      width: random.pick(isSmall ? [1, 7, 8, 40] : [1, 7, 8, 40, 64, 128, 512]),
      states: random.pick(isSmall ? [0, 1, 2, 3] : [0, 1, 2, 3, 5, 17]),
      convention: random.pick(CaseAxes.conventions), hasGaps: random.chance(0.4),
      hasMask: random.chance(0.6), isWild: random.chance(0.25))
  }
}

/// A merge case with memory.
final class MergeTensors {
  let memory = CaseMemory()
  let arguments: MergeArguments
  let v: TensorView
  let s: TensorView
  /// States of a row and head as they were before the run: value row and s.
  private(set) var inputs: [[(v: [Float], s: Float)]] = []
  private(set) var isKept: [Bool] = []

  init(_ source: MergeCase, random initial: CaseRandom) {
    var random = initial
    let (rows, heads, width) = (source.rows, source.heads, source.width)
    let spread: CaseMemory.Spread = source.hasGaps ? .gaps : .dense
    let memory = memory
    func state(_ name: String, _ shape: [Int]) -> (TensorView, TensorView) {
      let v = memory.tensor("\(name)V", ScalarType(source.input), shape + [width], spread: spread)
      let s = memory.tensor("\(name)S", .f32, shape, spread: spread)
      v.fillNormal(&random)
      s.forEachIndex { index in
        let far = random.chance(0.1)
        s.set(random.real(far ? -300...300 : -4...12), index)
        if random.chance(0.15) {
          // An empty state contributes nothing, whatever its v holds: here NaN.
          s.set(source.convention.external(-.infinity), index)
          for e in 0..<width { v.poison(at: v.offset(index + [e])) }
        } else if source.isWild && random.chance(0.1) {
          s.set(random.pick([.infinity, .nan]), index)
        }
      }
      return (v, s)
    }
    func output() -> (TensorView, TensorView) {
      let type = ScalarType(source.output)
      return (
        memory.tensor("v", type, [rows, heads, width], spread: spread),
        memory.tensor("s", .f32, [rows, heads], spread: spread)
      )
    }
    var operands: [(TensorView, TensorView)] = []
    switch source.kind {
    case .two:
      operands = [state("a", [rows, heads]), state("b", [rows, heads])]
      (v, s) = output()
      arguments = MergeArguments(
        .two(
          aV: operands[0].0, aS: operands[0].1, bV: operands[1].0, bS: operands[1].1, v: v, s: s),
        convention: source.convention)
    case .inPlace:
      operands = [state("own", [rows, heads]), state("other", [rows, heads])]
      (v, s) = operands[0]
      var mask: TensorView?
      if source.hasMask {
        let view = memory.tensor("mask", .u8, [rows])
        for row in 0..<rows {
          view.mutableHostPointer?.storeBytes(
            of: random.pick([0, 0, 1, 2, 255]), toByteOffset: row, as: UInt8.self)
        }
        mask = view
      }
      arguments = MergeArguments(
        .inPlace(v: v, s: s, otherV: operands[1].0, otherS: operands[1].1, mask: mask),
        convention: source.convention)
      isKept = (0..<rows).map { row in
        mask?.hostPointer.map { $0.load(fromByteOffset: row, as: UInt8.self) == 0 } ?? false
      }
    case .many:
      let all = state("all", [rows, source.states, heads])
      (v, s) = output()
      operands = (0..<source.states).map {
        (all.0.selecting($0, axis: 1), all.1.selecting($0, axis: 1))
      }
      arguments = MergeArguments(
        .many(states: all.0, logits: all.1, v: v, s: s), convention: source.convention)
    }
    for row in 0..<rows {
      for head in 0..<heads {
        inputs.append(
          operands.map { v, s in
            ((0..<width).map { v.value([row, head, $0]) }, s.value([row, head]))
          })
      }
    }
  }
}

extension MergeCase {
  /// Runs the case on a back end and compares with the definition.
  func check(on backend: any Backend, random: CaseRandom) -> CaseOutcome {
    let tensors = MergeTensors(self, random: random)
    return withExtendedLifetime(tensors) {
      Interruption.outcome { () throws(Interruption) in
        let arguments = tensors.arguments
        let expected = try Interruption.reference { () throws(ArgumentError) in
          try Reference.merge(arguments)
        }
        let written: Set<String> = ["v", "s", kind == .inPlace ? "ownV" : "v"]
        let before = tensors.memory.snapshots(except: written.union(["ownS"]))
        let kept = tensors.memory.snapshots()
        try Interruption.guarding("merge") { () throws(ApusError) in
          try backend.merge(arguments, on: .synchronous)
        }
        var failures = tensors.memory.brokenGuards.map { "\($0) was written out of bounds" }
        failures += tensors.memory.changed(since: before).map { "\($0) must not be written" }
        let (compared, margin) = compare(tensors, expected)
        failures += compared + keptRows(tensors, kept)
        return (failures, margin)
      }
    }
  }

  private func compare(_ tensors: MergeTensors, _ expected: MergeResult) -> ([String], Double) {
    let limit = Double(output.greatestFiniteMagnitude)
    var values = Comparison("v")
    var sums = Comparison("s")
    for cell in 0..<rows * heads {
      let (row, head) = (cell / heads, cell % heads)
      if kind == .inPlace, tensors.isKept[row] { continue }
      let tolerance = MergeTolerance(tensors.inputs[cell], convention: convention)
      for e in 0..<width {
        let value = expected.v[cell * width + e]
        let allowance = tolerance.value(e, value, type: output)
        let offset = tensors.v.offset([row, head, e])
        values.check(
          "[\(row), \(head), \(e)]", found: tensors.v.value(at: offset),
          bits: tensors.v.bits(at: offset),
          expected: value.isNaN ? value : Swift.min(Swift.max(value, -limit), limit),
          allowance: allowance)
      }
      let offset = tensors.s.offset([row, head])
      sums.check(
        "[\(row), \(head)]", found: tensors.s.value(at: offset),
        bits: tensors.s.bits(at: offset), expected: expected.s[cell],
        allowance: tolerance.logSumExp)
    }
    let failures = values.finish() + sums.finish()
    return (failures, Swift.max(values.margin, sums.margin))
  }

  /// Rows that a mask protects must keep every bit.
  private func keptRows(_ tensors: MergeTensors, _ before: [String: [UInt8]]) -> [String] {
    guard kind == .inPlace, hasMask else { return [] }
    for (name, view) in [("ownV", tensors.v), ("ownS", tensors.s)] {
      guard let buffer = tensors.memory.buffer(name), let old = before[name] else { continue }
      let new = buffer.snapshot()
      let size = view.scalarType.byteCount
      for row in 0..<rows where tensors.isKept[row] {
        for head in 0..<heads {
          let count = view.shape.count == 3 ? width : 1
          let start = buffer.snapshotOffset + view.selecting(row, axis: 0).byteDistance(from: view)
          let cell = start + head * view.strides[1] * size
          if old[cell..<cell + count * size] != new[cell..<cell + count * size] {
            return ["\(name) row \(row) is masked out and must keep its bits"]
          }
        }
      }
    }
    return []
  }
}

extension TensorView {
  fileprivate func byteDistance(from other: TensorView) -> Int {
    Int(bitPattern: address &- other.address)
  }
}
