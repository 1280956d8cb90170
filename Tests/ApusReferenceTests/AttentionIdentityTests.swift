import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

/// Two ways to say the same attention give the same result.
@Suite struct AttentionIdentityTests {
  private static let lengths = [(1, 1), (1, 5), (3, 3), (3, 7), (5, 2), (4, 0)]

  private func customMask(
    _ attention: AttentionCase, order: BitOrder = .little, _ sees: (Int, Int, Int, Int) -> Bool
  ) throws -> AttentionMask {
    var flags: [Bool] = []
    for (qo, kv) in zip(attention.qoLengths, attention.kvLengths) {
      for i in 0..<qo {
        for j in 0..<kv { flags.append(sees(i, j, qo, kv)) }
      }
    }
    let counts = zip(attention.qoLengths, attention.kvLengths).map { $0 * $1 }
    return .custom(try CustomMask(packing: flags, elementCounts: counts, bitOrder: order))
  }

  @Test func `causal and window equal custom masks of their inequalities`() {
    var attention = AttentionCase.random(
      seed: 11, qoLengths: Self.lengths.map(\.0), kvLengths: Self.lengths.map(\.1))
    withEvery("order", in: BitOrder.allCases) { order in
      attention.mask = .causal
      let causal = try attention.attend()
      attention.mask = try customMask(attention, order: order) { i, j, qo, kv in j + qo <= kv + i }
      expectEqual(try attention.attend(), causal)
      withEvery("window", in: [0, 1, 2, 100, Int.max]) { window in
        attention.mask = AttentionMask(windowLeft: window)
        let windowed = try attention.attend()
        attention.mask = try customMask(attention, order: order) { i, j, qo, kv in
          kv + i - qo - j <= window
        }
        expectEqual(try attention.attend(), windowed)
      }
    }
  }

  @Test func `a custom mask, causal and a window compose by AND`() throws {
    var attention = AttentionCase.random(seed: 12, qoLengths: [4, 3], kvLengths: [6, 3])
    var both = try customMask(attention) { i, j, _, _ in (i + j) % 3 != 0 }
    both.isCausal = true
    both.windowLeft = 2
    attention.mask = both
    let composed = try attention.attend()
    attention.mask = try customMask(attention) { i, j, qo, kv in
      let position = kv - qo + i
      return (i + j) % 3 != 0 && j <= position && j >= position - 2
    }
    #expect(try attention.attend() == composed)
  }

  @Test func `every placement and layout gives the same bits`() throws {
    let lengths = [(1, 4), (2, 0), (3, 7), (0, 2), (2, 3)]
    let attention = AttentionCase.random(
      seed: 13, qoLengths: lengths.map(\.0), kvLengths: lengths.map(\.1), qoHeads: 6, kvHeads: 2)
    let expected = try attention.attend()
    withEvery("placement", in: AttentionCase.Placement.allCases) { placement in
      withEvery("layout", in: KVLayout.allCases) { layout in
        withEvery("page", in: [1, 2, 3, 16]) { page in
          expectEqual(
            try attention.attend(placement, layout: layout, pageSize: page), expected)
        }
      }
    }
  }

  @Test func `query heads of a group read the same KV head`() throws {
    let grouped = AttentionCase.random(
      seed: 14, qoLengths: [3], kvLengths: [5], qoHeads: 6, kvHeads: 2)
    var repeated = grouped
    repeated.kvHeads = 6
    repeated.k = grouped.k.map { $0.map { heads in (0..<6).map { heads[$0 / 3] } } }
    repeated.v = grouped.v.map { $0.map { heads in (0..<6).map { heads[$0 / 3] } } }
    let expected = try grouped.attend()
    #expect(try repeated.attend() == expected)
  }

  @Test func `a request's result does not depend on its neighbours`() throws {
    let batch = AttentionCase.random(seed: 15, qoLengths: [2, 3], kvLengths: [4, 6], qoHeads: 2)
    var alone = batch
    (alone.q, alone.k, alone.v) = ([batch.q[1]], [batch.k[1]], [batch.v[1]])
    let (whole, part) = (try batch.attend(), try alone.attend())
    #expect(Array(whole.o[(2 * 2 * 8)...]) == part.o)
    #expect(Array(whole.lse[(2 * 2)...]) == part.lse)
  }

  @Test func `a soft cap far above every score changes nothing`() throws {
    var attention = AttentionCase.random(seed: 16, qoLengths: [2], kvLengths: [5])
    let plain = try attention.attend()
    // x − cap·tanh(x/cap) = x³/(3·cap²) + …: below 2⁻⁶⁰ for |x| ≤ 8 and cap = 2³⁴.
    attention.modification.logitsSoftCap = 0x1p34
    let capped = try attention.attend()
    expectClose(capped.o, plain.o, operations: 64, magnitude: plain.oMagnitude)
    expectClose(capped.lse, plain.lse, operations: 64)
  }

  @Test func `ALiBi with another origin shifts lse and keeps o`() throws {
    // FlashInfer counts distance from the query's row instead of its position: the scores of a row
    // differ by slope · (kvLength − qoLength).
    var attention = AttentionCase.random(seed: 17, qoLengths: [2], kvLengths: [5])
    attention.modification.alibiSlopes = [0.25]
    let ours = try attention.attend()
    // The same shift enters the score as one more element of q·k.
    var theirs = attention
    theirs.modification.softmaxScale = 1
    attention.modification.softmaxScale = 1
    for i in 0..<2 { theirs.q[0][i][0][7] = 1 }
    for j in 0..<5 { theirs.k[0][j][0][7] = 0.75 }
    for i in 0..<2 { attention.q[0][i][0][7] = 0 }
    let (a, b) = (try attention.attend(), try theirs.attend())
    expectClose(b.o, a.o, operations: 64, magnitude: a.oMagnitude)
    expectClose(b.lse, a.lse.map { $0 + 0.75 * 1.4426950408889634 }, operations: 64)
    #expect(ours.lse != a.lse)
  }

  @Test func `rope depends on relative positions only`() {
    // One query row against key j: moving both by the same distance keeps the score. A longer
    // context in front, masked by the window, moves every position.
    withEvery("pairing", in: RotaryEmbedding.Pairing.allCases) { pairing in
      withEvery("dim", in: [8, 4, nil]) { (dim: Int?) in
        var near = AttentionCase.random(seed: 18, qoLengths: [1], kvLengths: [4])
        near.modification.rope = RotaryEmbedding(pairing: pairing, rotaryDim: dim)
        var far = near
        far.k[0] = Array(repeating: near.k[0][0], count: 100) + near.k[0]
        far.v[0] = Array(repeating: near.v[0][0], count: 100) + near.v[0]
        far.mask = AttentionMask(windowLeft: 3)
        let (a, b) = (try near.attend(), try far.attend())
        // Angles up to 103 carry an error of 103 · 2⁻⁵³ into scores of magnitude at most 8.
        expectClose(b.o, a.o, operations: 103 * 8 * 4, magnitude: a.oMagnitude)
        near.modification.rope = nil
        expect(try near.attend().o != a.o, "the rotation must matter")
      }
    }
  }

  @Test func `rope inside equals rotating q and k before`() throws {
    try withPool { pool in
      var attention = AttentionCase.random(
        seed: 19, qoLengths: [2], kvLengths: [5], qoHeads: 2, kvHeads: 1)
      let rope = RotaryEmbedding(pairing: .interleaved, scale: 2, theta: 500)
      func rotated(_ rows: [[[Float]]], first: Int) throws -> [[[Double]]] {
        let heads = rows[0].count
        let view = pool.tensor(.f32, [rows.count, heads, 8], rows.flatMap { $0.flatMap { $0 } })
        let empty = pool.tensor(.f32, [rows.count, 0, 8])
        let result = try Reference.rotate(
          RotaryArguments(
            q: view, k: empty, qOut: view, kOut: empty,
            positions: rows.indices.map { first + $0 }, source: .frequencies(rope)))
        return rows.indices.map { i in
          (0..<heads).map { h in Array(result.q[(i * heads + h) * 8..<(i * heads + h + 1) * 8]) }
        }
      }
      let q = try rotated(attention.q[0], first: 3)
      let k = try rotated(attention.k[0], first: 0)
      attention.modification.rope = rope
      let inside = try attention.attend()
      // lse = log₂ Σ exp(scale · q·k), straight from the rotated rows.
      var lse: [Double] = []
      for i in 0..<2 {
        for h in 0..<2 {
          let sum = k.map { row in
            exponential(
              Double(attention.modification.resolvedScale(headDimQK: 8))
                * zip(q[i][h], row[0]).map { $0 * $1 }.reduce(0, +))
          }.reduce(0, +)
          lse.append(binaryLogarithm(sum))
        }
      }
      expectClose(inside.lse, lse, operations: 64)
    }
  }

  @Test func `merging the states of split keys gives the whole`() throws {
    try withPool { pool in
      let whole = AttentionCase.random(seed: 20, qoLengths: [2], kvLengths: [6], qoHeads: 2)
      var (first, second) = (whole, whole)
      (first.k[0], first.v[0]) = (Array(whole.k[0][..<4]), Array(whole.v[0][..<4]))
      (second.k[0], second.v[0]) = (Array(whole.k[0][4...]), Array(whole.v[0][4...]))
      let (a, b, all) = (try first.attend(), try second.attend(), try whole.attend())
      let v = pool.tensor(.f32, [2, 2, 8])
      let s = pool.tensor(.f32, [2, 2])
      func state(_ result: AttentionResult) -> (TensorView, TensorView) {
        (
          pool.tensor(.f32, [2, 2, 8], result.o.map(Float.init)),
          pool.tensor(.f32, [2, 2], result.lse.map(Float.init))
        )
      }
      let (aV, aS) = state(a)
      let (bV, bS) = state(b)
      let merged = try Reference.merge(
        MergeArguments(.two(aV: aV, aS: aS, bV: bV, bS: bS, v: v, s: s)))
      // The states were rounded to f32: v by 2⁻²⁴ of itself, and s by 2⁻²⁴ · |s|, which moves the
      // weights by ln 2 times that. 2²⁹ roundings of 2⁻⁵³ are one of 2⁻²⁴.
      let greatest = (a.lse + b.lse).map(\.magnitude).max() ?? 0
      let roundings = Int((2 + 2 * greatest).rounded(.up)) << 29
      expectClose(merged.v, all.o, operations: roundings, magnitude: all.oMagnitude)
      expectClose(
        merged.s, all.lse, operations: roundings, magnitude: all.lse.map { _ in 1 })
    }
  }
}
