import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@Suite struct ReferenceMergeTests {
  /// Merges states of one row and head, given as (v, s).
  private func merge(
    _ states: [([Float], Float)], _ convention: LSEConvention = .base2
  ) throws -> MergeResult {
    try withPool { pool in
      let width = states.first?.0.count ?? 2
      return try Reference.merge(
        MergeArguments(
          .many(
            states: pool.tensor(.f32, [1, states.count, 1, width], states.flatMap(\.0)),
            logits: pool.tensor(.f32, [1, states.count, 1], states.map(\.1)),
            v: pool.tensor(.f32, [1, 1, width]), s: pool.tensor(.f32, [1, 1])),
          convention: convention))
    }
  }

  private func two(_ a: ([Float], Float), _ b: ([Float], Float)) throws -> MergeResult {
    try withPool { pool in
      try Reference.merge(
        MergeArguments(
          .two(
            aV: pool.tensor(.f32, [1, 1, 2], a.0), aS: pool.tensor(.f32, [1, 1], [a.1]),
            bV: pool.tensor(.f32, [1, 1, 2], b.0), bS: pool.tensor(.f32, [1, 1], [b.1]),
            v: pool.tensor(.f32, [1, 1, 2]), s: pool.tensor(.f32, [1, 1]))))
    }
  }

  @Test func `weights are two to the lse`() throws {
    // 2³ and 2¹: weights 4/5 and 1/5, log₂ 10.
    let result = try two(([5, 10], 3), ([0, -5], 1))
    #expect(result.v == [4, 7])
    expectClose(result.s, [3.3219280948873623], operations: 4)
    #expect(try merge([([5, 10], 3), ([0, -5], 1)]) == result)
  }

  @Test func `natural logarithms weigh with powers of e`() throws {
    let ln3: Float = 1.0986122886681098
    let result = try merge([([4, 0], ln3), ([0, 8], 0)], .natural)
    let weight = exponential(Double(ln3))
    expectClose(result.v, [4 * weight / (weight + 1), 8 / (weight + 1)], operations: 8)
    expectClose(
      result.s, [binaryLogarithm(weight + 1) * 0.69314718055994531], operations: 8)
  }

  @Test func `an empty state contributes nothing whatever its v holds`() throws {
    let expected = MergeResult(v: [1.5, -2], s: [7])
    #expect(try two(([.nan, .infinity], -.infinity), ([1.5, -2], 7)) == expected)
    #expect(try two(([1.5, -2], 7), ([.nan, .nan], -.infinity)) == expected)
    let flashMLA = try merge([([1.5, -2], 7), ([.nan, .nan], .infinity)], .flashMLA)
    #expect(flashMLA == expected)
    let either = try merge([([1.5, -2], 7), ([.nan, .nan], -.infinity)], .flashMLA)
    #expect(either == expected)
  }

  @Test func `no states and empty states give zero and an empty row`() throws {
    #expect(try merge([]) == MergeResult(v: [0, 0], s: [-.infinity]))
    #expect(
      try merge([([.nan, 1], -.infinity), ([2, 3], -.infinity)])
        == MergeResult(v: [0, 0], s: [-.infinity]))
    #expect(
      try merge([([.nan, 1], .infinity)], .flashMLA) == MergeResult(v: [0, 0], s: [.infinity]))
  }

  @Test func `merging is commutative and associative within rounding`() throws {
    var generator = SplitMix64(seed: 61)
    for _ in 0..<20 {
      let states = (0..<4).map { _ in
        (
          (0..<2).map { _ in Float.random(in: -1...1, using: &generator) },
          Float.random(in: -20...20, using: &generator)
        )
      }
      let swapped = try two(states[1], states[0])
      #expect(try two(states[0], states[1]) == swapped)
      let forward = try merge(states)
      let backward = try merge(states.reversed())
      expectClose(forward.v, backward.v, operations: 16, magnitude: [1, 1])
      expectClose(forward.s, backward.s, operations: 16, magnitude: [32])
    }
  }

  @Test func `NaN and plus infinity make a row NaN`() throws {
    for s in [Float.nan, .infinity] {
      let result = try merge([([1, 2], s), ([3, 4], 0)])
      #expect(result.v.allSatisfy { $0.isNaN })
      #expect(result.s.allSatisfy { $0.isNaN })
    }
    let value = try merge([([1, .nan], 0), ([3, 4], 0)])
    #expect(value.v[0] == 2)
    #expect(value.v[1].isNaN)
    #expect(value.s == [1])
  }

  @Test func `in place a masked row keeps its state and every form reads the right rows`() throws {
    try withPool { pool in
      func states(_ first: Float) -> (TensorView, TensorView) {
        (
          pool.tensor(.bf16, [3, 2, 2], (0..<12).map { first + Float($0) }),
          pool.tensor(.f32, [3, 2], (0..<6).map { _ in 0 })
        )
      }
      let (v, s) = states(0)
      let (otherV, otherS) = states(100)
      let all = try Reference.merge(
        MergeArguments(
          .inPlace(v: v, s: s, otherV: otherV, otherS: otherS, mask: nil)))
      let count = (0..<12).map(Double.init)
      #expect(all.v == count.map { 50 + $0 })
      #expect(all.s == [1, 1, 1, 1, 1, 1])
      let some = try Reference.merge(
        MergeArguments(
          .inPlace(v: v, s: s, otherV: otherV, otherS: otherS, mask: pool.bytes([0, 2, 0]))))
      #expect(some.v == [0, 1, 2, 3, 54, 55, 56, 57, 8, 9, 10, 11])
      #expect(some.s == [0, 0, 1, 1, 0, 0])
      #expect(HostTensor(v).values == count, "nothing is written")

      let many = try Reference.merge(
        MergeArguments(
          .many(
            states: pool.tensor(.f32, [3, 2, 2, 1], (0..<12).map(Float.init)),
            logits: pool.tensor(.f32, [3, 2, 2], [Float](repeating: 0, count: 12)),
            v: pool.tensor(.f32, [3, 2, 1]), s: pool.tensor(.f32, [3, 2]))))
      // Row r, head h: the mean of 4r + h and 4r + 2 + h.
      #expect(many.v == [1, 2, 5, 6, 9, 10])
    }
  }

  @Test func `states of different shapes are refused`() {
    withPool { pool in
      let v = pool.tensor(.f32, [1, 1, 2])
      let s = pool.tensor(.f32, [1, 1])
      let error = #expect(throws: ArgumentError.self) {
        try Reference.merge(
          MergeArguments(
            .two(aV: v, aS: s, bV: pool.tensor(.f32, [2, 1, 2]), bS: s, v: v, s: s)))
      }
      #expect(error?.operation == "Reference.merge")
    }
  }
}
