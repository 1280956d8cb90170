import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@Suite struct NaiveAttentionTests {
  /// All features at once, on inputs of 16 bits.
  private static func rich(types: AttentionTypes) -> AttentionCase {
    var result = AttentionCase.random(
      seed: 81, qoLengths: [3, 1, 2], kvLengths: [9, 40, 1], qoHeads: 4, kvHeads: 2, dimQK: 16,
      dimVO: 8, types: types)
    result.mask = AttentionMask(isCausal: true, windowLeft: 30)
    result.modification = ScoreModification(
      logitsSoftCap: 4, alibiSlopes: ScoreModification.alibiSlopes(headCount: 4),
      rope: RotaryEmbedding())
    result.sinks = [0.5, -1, 2, 0]
    result.scales = AttentionScales(
      q: .tensor(3), k: .tensor(0.7), v: .tensor(1.3), o: .tensor(0.9))
    return result
  }

  @Test func `exact inputs give exactly rounded results`() {
    withPool { pool in
      // Equal scores: the mean of 1, 2 and 2, which only o's type rounds after f32.
      let attention = AttentionCase.single(q: [[0]], k: [[1], [2], [3]], v: [[1], [2], [2]])
      withEvery("type", in: ElementType.allCases) { type in
        var (problem, arguments) = attention.place(in: pool)
        problem.types.o = type
        arguments.o = pool.tensor(type, [1, 1, 8])
        let result = try Reference.naiveAttention(problem, arguments)
        let mean: Float = 5 / 3
        expectEqual(
          result.o[0], type.format.decode(type.format.encode(mean, overflow: .saturate)))
      }
    }
  }

  @Test func `o saturates and every value is one of its type`() {
    withPool { pool in
      let attention = AttentionCase.single(q: [[0]], k: [[0]], v: [[1e30, -1e30, 0.3]])
      withEvery("type", in: [ElementType.f16, .e4m3, .e5m2]) { type in
        var (problem, arguments) = attention.place(in: pool)
        problem.types.o = type
        arguments.o = pool.tensor(type, [1, 1, 8])
        let o = try Reference.naiveAttention(problem, arguments).o
        expectEqual(o[0], type.greatestFiniteMagnitude)
        expectEqual(o[1], -type.greatestFiniteMagnitude)
        for value in o {
          expectEqual(
            type.format.decode(type.format.encode(value, overflow: .nonSaturating)), value)
        }
      }
    }
  }

  @Test func `P is rounded before it meets v and not in the denominator`() throws {
    try withPool { pool in
      // Weights 1 and 2^(−1/2); e5m2 rounds the second to ¾.
      let x = -Float(0.34657359027997264)
      let attention = AttentionCase.single(q: [[1]], k: [[0], [x]], v: [[0], [1]])
      let (problem, arguments) = attention.place(in: pool)
      let plain = try Reference.naiveAttention(problem, arguments)
      let rounded = try Reference.naiveAttention(problem, arguments, pType: .e5m2)
      #expect(rounded.lse == plain.lse)
      // The numerator alone changes: by ¾ / 2^(−1/2). 2²⁹ roundings of 2⁻⁵³ are one of 2⁻²⁴.
      expectClose(
        [Double(rounded.o[0]) / Double(plain.o[0])], [1.0606601717798212], operations: 8 << 29)
    }
  }

  @Test func `it stays within its own rounding errors of the definition`() {
    withPool { pool in
      let kinds = [
        AttentionTypes(q: .f32), AttentionTypes(q: .f16), AttentionTypes(q: .bf16, kv: .e4m3),
      ]
      withEvery("types", in: kinds) { types in
        withEvery("pType", in: [ElementType.f32, .f16, .bf16]) { pType in
          let (problem, arguments) = Self.rich(types: types).place(.pages, in: pool)
          let exact = try Reference.attention(problem, arguments)
          let naive = try Reference.naiveAttention(problem, arguments, pType: pType)
          // Each score is a sum of 16 products with fewer than 64 roundings in all and magnitudes
          // that sum to at most M = 16·(3·0.7)·2·2 before the scale ¼; a weight then errs by that
          // relative to itself, and the two sums over at most 31 keys by 31 roundings each.
          let score = 16.0 * 3 * 0.7 * 2 * 2 / 4
          let weight = 64 * 0x1p-24 * score + 62 * 0x1p-24
          var log = Mismatches()
          for (index, value) in exact.o.enumerated() {
            let bound =
              (2 * weight + pType.unitRoundoff) * exact.oMagnitude[index]
              + types.o.unitRoundoff * (value.magnitude + exact.oMagnitude[index] * weight)
              + Double(types.o.leastNonzeroMagnitude)
            let error = (Double(naive.o[index]) - value).magnitude
            log.check(error <= bound, "o[\(index)] \(naive.o[index]) for \(value)")
          }
          for (index, value) in exact.lse.enumerated() {
            let error = (Double(naive.lse[index]) - value).magnitude
            log.check(
              value == -.infinity
                ? naive.lse[index] == -.infinity
                : error <= 2 * weight + 0x1p-22 * value.magnitude,
              "lse[\(index)] \(naive.lse[index]) for \(value)")
          }
          log.expectNone()
        }
      }
    }
  }

  @Test func `empty rows and NaN are those of the definition`() throws {
    try withPool { pool in
      var attention = AttentionCase.random(
        seed: 82, qoLengths: [4, 1], kvLengths: [2, 3], types: AttentionTypes(q: .f16))
      attention.mask = .causal
      attention.sinks = [1]
      attention.v[1][1][0][4] = .nan
      let (problem, arguments) = attention.place(in: pool)
      let exact = try Reference.attention(problem, arguments)
      let naive = try Reference.naiveAttention(problem, arguments, pType: .bf16)
      #expect(Array(naive.lse[..<2]) == [-.infinity, -.infinity])
      #expect(naive.o[..<16].allSatisfy { $0 == 0 })
      #expect(naive.o.map { $0.isNaN } == exact.o.map { $0.isNaN })
      #expect(exact.o.filter { $0.isNaN }.count == 1)
    }
  }
}
