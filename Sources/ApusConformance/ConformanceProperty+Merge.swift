internal import ApusCore
internal import ApusNumerics
internal import ApusReference

extension ConformanceProperty {
  static let merging: [ConformanceProperty] = [
    .init("merging is commutative bitwise") { context throws(Interruption) in
      var source = MergeCase.generate(&context.random, size: context.size)
      source.kind = .two
      source.rows = 5
      let data = context.data()
      let tensors = MergeTensors(source, random: data)
      guard case .two(let aV, let aS, let bV, let bS, let v, let s) = tensors.arguments.states
      else { throw noCase }
      let memory = tensors.memory
      let swappedV = memory.tensor("swappedV", v.scalarType, v.shape)
      let swappedS = memory.tensor("swappedS", .f32, s.shape)
      let backend = context.backend
      let swapped = MergeArguments(
        .two(aV: bV, aS: bS, bV: aV, bS: aS, v: swappedV, s: swappedS),
        convention: source.convention)
      try Interruption.guarding("merge") { () throws(ApusError) in
        try backend.merge(tensors.arguments, on: .synchronous)
        try backend.merge(swapped, on: .synchronous)
      }
      return withExtendedLifetime(tensors) {
        differences("v", swappedV, v) + differences("s", swappedS, s)
      }
    },
    .init("merging is associative within rounding") { context throws(Interruption) in
      var source = MergeCase.generate(&context.random, size: context.size)
      source.kind = .many
      source.states = 3
      source.rows = 5
      // One type throughout: an intermediate result is rounded to it like any other.
      source.input = .f32
      source.output = .f32
      let tensors = MergeTensors(source, random: context.data())
      guard case .many(let states, let logits, let v, let s) = tensors.arguments.states else {
        throw noCase
      }
      let memory = tensors.memory
      let middleV = memory.tensor("middleV", .f32, v.shape)
      let middleS = memory.tensor("middleS", .f32, s.shape)
      let expected = try Interruption.reference { () throws(ArgumentError) in
        try Reference.merge(tensors.arguments)
      }
      let backend = context.backend
      var failures: [String] = []
      for order in [[0, 1, 2], [1, 2, 0]] {
        let parts = order.map { (states.selecting($0, axis: 1), logits.selecting($0, axis: 1)) }
        try Interruption.guarding("merge") { () throws(ApusError) in
          let first = MergeArguments(
            .two(
              aV: parts[0].0, aS: parts[0].1, bV: parts[1].0, bS: parts[1].1, v: middleV,
              s: middleS), convention: source.convention)
          let second = MergeArguments(
            .two(aV: middleV, aS: middleS, bV: parts[2].0, bS: parts[2].1, v: v, s: s),
            convention: source.convention)
          try backend.merge(first, on: .synchronous)
          try backend.merge(second, on: .synchronous)
        }
        failures += source.compareTwice(tensors, expected)
      }
      return withExtendedLifetime(tensors) { failures }
    },
  ]

  private static func differences(
    _ name: String, _ found: TensorView, _ expected: TensorView
  ) -> [String] {
    var failures: [String] = []
    found.forEachIndex { index in
      let bits = (found.bits(at: found.offset(index)), expected.bits(at: expected.offset(index)))
      if bits.0 != bits.1, failures.isEmpty {
        failures = ["\(name)\(index): bits \(bits.0) one way and \(bits.1) the other"]
      }
    }
    return failures
  }
}

extension MergeCase {
  /// Compares with the definition, allowing the error of two merges in a row.
  fileprivate func compareTwice(_ tensors: MergeTensors, _ expected: MergeResult) -> [String] {
    var values = Comparison("v")
    var sums = Comparison("s")
    for cell in 0..<rows * heads {
      let index = [cell / heads, cell % heads]
      let tolerance = MergeTolerance(tensors.inputs[cell], convention: convention)
      func twice(_ allowance: Allowance) -> Allowance {
        Allowance(worst: 2 * allowance.worst, typical: 2 * allowance.typical)
      }
      for e in 0..<width {
        let offset = tensors.v.offset(index + [e])
        let value = expected.v[cell * width + e]
        values.check(
          "\(index + [e])", found: tensors.v.value(at: offset), bits: tensors.v.bits(at: offset),
          expected: value, allowance: twice(tolerance.value(e, value, type: .f32)))
      }
      let offset = tensors.s.offset(index)
      sums.check(
        "\(index)", found: tensors.s.value(at: offset), bits: tensors.s.bits(at: offset),
        expected: expected.s[cell], allowance: twice(tolerance.logSumExp))
    }
    return values.finish() + sums.finish()
  }
}
