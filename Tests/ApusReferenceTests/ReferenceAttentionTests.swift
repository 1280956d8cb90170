import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

/// Cases whose results are written out.
@Suite struct ReferenceAttentionTests {
  /// Scores are the keys' first elements and o's first elements are the weights.
  private func weights(ofScores scores: [Float]) -> AttentionCase {
    let identity: [[Float]] = scores.indices.map { j in scores.indices.map { $0 == j ? 1 : 0 } }
    return .single(q: [[1]], k: scores.map { [$0] }, v: identity)
  }

  @Test func `two keys weigh as the sigmoid of their difference`() throws {
    let result = try weights(ofScores: [0, 1]).attend()
    // 1/(1 + e), e/(1 + e), log₂(1 + e).
    expectClose(
      Array(result.o[..<2]), [0.26894142136999512, 0.73105857863000488], operations: 8)
    expectClose(result.lse, [1.8946361239720116], operations: 8)
    #expect(result.o[2...].allSatisfy { $0 == 0 })
  }

  @Test func `equal scores give the mean of v and lse log2 n`() throws {
    var attention = AttentionCase.single(
      q: [[0]], k: [[5], [-3], [7], [1]], v: [[1, -8], [2, 0], [3, 0], [6, 4]])
    let result = try attention.attend()
    #expect(result.o[0] == 3)
    #expect(result.o[1] == -1)
    #expect(result.oMagnitude[1] == 3)
    #expect(result.lse == [2])
    attention.scales.o = .tensor(4)
    let scaled = try attention.attend()
    #expect(scaled.o[0] == 0.75)
    #expect(scaled.oMagnitude[1] == 0.75)
    #expect(scaled.lse == [2])
  }

  @Test func `a dominating score selects its value exactly`() throws {
    let result = try weights(ofScores: [0, 2000, 100]).attend()
    #expect(Array(result.o[..<3]) == [0, 1, 0])
    expectClose(result.lse, [2000 * 1.4426950408889634], operations: 4)
  }

  @Test func `the softmax scale defaults to one over the root of the dimension`() throws {
    var attention = weights(ofScores: [0, 1])
    attention.modification.softmaxScale = nil
    let defaulted = try attention.attend()
    attention.modification.softmaxScale = Float(1 / 8.0.squareRoot())
    #expect(try attention.attend() == defaulted)
    let unscaled = try weights(ofScores: [0, 1]).attend()
    #expect(unscaled != defaulted)
  }

  @Test func `the soft cap is cap times tanh of score over cap`() throws {
    var attention = weights(ofScores: [0, 3])
    attention.modification.logitsSoftCap = 2
    let result = try attention.attend()
    // x = 2·tanh(1.5) = 1.8102965072897329: e^x/(1 + e^x) and log₂(1 + e^x).
    expectClose(Array(result.o[1..<2]), [0.85939770603498167], operations: 16)
    expectClose(result.lse, [2.8303079623193172], operations: 16)
    attention.modification.logitsSoftCap = 0
    let plain = try weights(ofScores: [0, 3]).attend()
    #expect(try attention.attend() == plain)
  }

  @Test func `ALiBi adds slope times the distance to the query's position`() throws {
    var attention = weights(ofScores: [0, 0, 0])
    attention.modification.alibiSlopes = [0.5]
    let result = try attention.attend()
    // The query is at position 2: x = −1, −1/2, 0.
    expectClose(
      Array(result.o[..<3]), [0.18632372322584758, 0.30719588571849840, 0.50648039105565403],
      operations: 16)
    expectClose(result.lse, [0.98142168030199893], operations: 16)
  }

  @Test func `a sink joins the denominator and not lse`() throws {
    var attention = weights(ofScores: [0, 1])
    let plain = try attention.attend()
    attention.sinks = [0]
    let result = try attention.attend()
    // 1/(2 + e), e/(2 + e).
    expectClose(
      Array(result.o[..<2]), [0.21194155761708545, 0.57611688476582911], operations: 8)
    #expect(result.lse == plain.lse)
    attention.sinks = [-.infinity]
    #expect(try attention.attend() == plain)
    attention.sinks = [.infinity]
    #expect(try attention.attend().o.allSatisfy { $0 == 0 })
    attention.sinks = [.nan]
    #expect(try attention.attend().o.allSatisfy { $0.isNaN })
  }

  @Test func `scales multiply what is stored`() throws {
    var attention = weights(ofScores: [0, 0.125])
    attention.scales = AttentionScales(q: .tensor(2), k: .tensor(4), v: .tensor(3), o: .tensor(0.5))
    let result = try attention.attend()
    expectClose(
      Array(result.o[..<2]), [6 * 0.26894142136999512, 6 * 0.73105857863000488], operations: 8)
    expectClose(result.lse, [1.8946361239720116], operations: 8)
  }

  @Test func `an empty row gives zero and minus infinity even with a sink`() throws {
    var attention = AttentionCase.random(seed: 1, qoLengths: [2, 1], kvLengths: [0, 2])
    attention.sinks = [3]
    let result = try attention.attend(.padded)
    #expect(result.o[..<16].allSatisfy { $0 == 0 })
    #expect(result.oMagnitude[..<16].allSatisfy { $0 == 0 })
    #expect(Array(result.lse[..<2]) == [-.infinity, -.infinity])
    #expect(result.lse[2].isFinite)
  }

  @Test func `a causal query longer than its keys has empty first rows`() throws {
    var attention = AttentionCase.single(
      q: [[0], [0], [0], [0]], k: [[1], [1]], v: [[2], [4]])
    attention.mask = .causal
    let result = try attention.attend()
    #expect(result.lse == [-.infinity, -.infinity, 0, 1])
    #expect([0, 8, 16, 24].map { result.o[$0] } == [0, 0, 2, 3])
  }

  @Test func `an empty batch and requests without queries give no rows`() throws {
    let none = try AttentionCase().attend()
    #expect(none.o.isEmpty && none.lse.isEmpty && none.oMagnitude.isEmpty)
    let some = AttentionCase.random(seed: 2, qoLengths: [0, 1, 0], kvLengths: [3, 2, 0])
    #expect(try some.attend().lse.count == 1)
  }

  @Test func `rows that no request owns stay NaN`() throws {
    try withPool { pool in
      let attention = AttentionCase.random(seed: 3, qoLengths: [3], kvLengths: [2])
      var (problem, arguments) = attention.place(in: pool)
      let whole = try Reference.attention(problem, arguments)
      problem.qoIndptr = RaggedIndptr([1, 3])
      let result = try Reference.attention(problem, arguments)
      #expect(result.lse[0].isNaN)
      #expect(result.o[..<8].allSatisfy { $0.isNaN })
      #expect(result.oMagnitude[..<8].allSatisfy { $0.isNaN })
      #expect(result.o[8...] == whole.o[8...])
      let naive = try Reference.naiveAttention(problem, arguments)
      #expect(naive.lse[0].isNaN && naive.o[..<8].allSatisfy { $0.isNaN })
      arguments.o = pool.tensor(.f32, [2, 1, 8])
      #expect(throws: ArgumentError.self) { try Reference.attention(problem, arguments) }
    }
  }

  @Test func `NaN in a masked key or value does not matter and in a visible one propagates`() throws
  {
    var attention = AttentionCase.random(seed: 4, qoLengths: [2], kvLengths: [3])
    attention.mask = .causal
    let clean = try attention.attend()
    attention.k[0][2][0][1] = .nan
    attention.v[0][2][0][3] = .nan
    let masked = try attention.attend()
    // Row 0 sees keys 0 and 1, row 1 all three.
    #expect(masked.o[..<8] == clean.o[..<8])
    #expect(masked.lse[0] == clean.lse[0])
    #expect(masked.o[8...].allSatisfy { $0.isNaN })
    #expect(masked.lse[1].isNaN)

    attention.k[0][2][0][1] = 0
    let valueOnly = try attention.attend()
    #expect(valueOnly.lse[1].isFinite)
    #expect(valueOnly.o[8...].enumerated().allSatisfy { $0.element.isNaN == ($0.offset == 3) })
  }

  @Test func `a score of minus infinity has no weight and only such scores make an empty row`()
    throws
  {
    let one = try weights(ofScores: [-.infinity, 1, 1]).attend()
    #expect(Array(one.o[..<3]) == [0, 0.5, 0.5])
    let all = try weights(ofScores: [-.infinity, -.infinity]).attend()
    #expect(all.o.allSatisfy { $0 == 0 })
    #expect(all.lse == [-.infinity])
  }

  @Test func `a score of plus infinity makes the row NaN and an infinite value its own element`()
    throws
  {
    let score = try weights(ofScores: [.infinity, 1]).attend()
    #expect(score.o.allSatisfy { $0.isNaN })
    #expect(score.lse[0].isNaN)
    let value = try AttentionCase.single(q: [[0]], k: [[0], [0]], v: [[.infinity], [1, 1]]).attend()
    #expect(value.o[0] == .infinity)
    #expect(value.o[1] == 0.5)
  }

  @Test func `NaN codes of narrow types propagate`() {
    withEvery("type", in: [ElementType.e4m3, .e5m2, .f16, .bf16]) { type in
      var attention = AttentionCase.random(
        seed: 5, qoLengths: [1], kvLengths: [2], types: AttentionTypes(q: .f32, kv: type))
      attention.v[0][1][0][2] = .nan
      let result = try attention.attend()
      expect(result.o.enumerated().allSatisfy { $0.element.isNaN == ($0.offset == 2) })
    }
  }

  @Test func `tensors that do not fit the problem are refused`() {
    withPool { pool in
      var (problem, arguments) = AttentionCase.random(seed: 6, qoLengths: [1], kvLengths: [2])
        .place(in: pool)
      arguments.sinks = pool.tensor(.f32, [2])
      let error = #expect(throws: ArgumentError.self) {
        try Reference.attention(problem, arguments)
      }
      #expect(error?.operation == "Reference.attention")
      let naive = #expect(throws: ArgumentError.self) {
        try Reference.naiveAttention(problem, arguments)
      }
      #expect(naive?.operation == "Reference.naiveAttention")
      problem.mask.windowLeft = -1
      #expect(throws: ArgumentError.self) { try Reference.attention(problem, arguments) }
    }
  }
}
