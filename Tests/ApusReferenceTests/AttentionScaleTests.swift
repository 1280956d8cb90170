import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

/// Scales of every granularity equal the same attention over values that are already multiplied.
@Suite struct AttentionScaleTests {
  /// Powers of two, so that the products are exact.
  private static func factor(_ index: Int) -> Float { Float(1 << (index % 4)) / 2 }

  private func stored() -> AttentionCase {
    .random(seed: 41, qoLengths: [2, 1], kvLengths: [3, 5], qoHeads: 4, kvHeads: 2)
  }

  @Test func `head scales multiply the rows of their head`() throws {
    try withPool { pool in
      let attention = stored()
      var real = attention
      multiply(&real.q) { _, head in Self.factor(head) }
      multiply(&real.k) { _, head in Self.factor(head + 1) }
      multiply(&real.v) { _, head in Self.factor(head + 2) }
      let expected = try real.attend()
      var (problem, arguments) = attention.place(in: pool)
      problem.modification = real.modification
      arguments.scales.q = .head(pool.tensor(.f32, [4], (0..<4).map(Self.factor)))
      arguments.scales.k = .head(pool.tensor(.f32, [2], (1..<3).map(Self.factor)))
      arguments.scales.v = .head(pool.tensor(.f32, [2], (2..<4).map(Self.factor)))
      #expect(try Reference.attention(problem, arguments) == expected)

      arguments.scales.o = .head(pool.tensor(.f32, [4], [1, -2, 4, 8]))
      let divided = try Reference.attention(problem, arguments)
      for index in expected.o.indices {
        let divisor = [1.0, -2, 4, 8][index / 8 % 4]
        #expect(divided.o[index] == expected.o[index] / divisor)
        #expect(divided.oMagnitude[index] == expected.oMagnitude[index] / divisor.magnitude)
      }
      #expect(divided.lse == expected.lse)
    }
  }

  @Test func `token-head scales multiply the row of their token and head`() {
    let attention = stored()
    var real = attention
    multiply(&real.k) { token, head in Self.factor(3 * token + head) }
    multiply(&real.v) { token, head in Self.factor(1 + 3 * token + head) }
    withPool { pool in
      let placements: [AttentionCase.Placement] = [.ragged, .padded, .pages, .combinedPages]
      withEvery("placement", in: placements) { placement in
        withEvery("layout", in: KVLayout.allCases) { layout in
          let expected = try real.attend(placement, layout: layout)
          var (problem, arguments) = attention.place(placement, layout: layout, in: pool)
          arguments.scales.k = .tokenHead(scaleTensor(attention, placement, layout, 0, pool))
          arguments.scales.v = .tokenHead(scaleTensor(attention, placement, layout, 1, pool))
          expectEqual(try Reference.attention(problem, arguments), expected)
        }
      }
    }
  }

  private func multiply(
    _ rows: inout [[[[Float]]]], by factor: (_ token: Int, _ head: Int) -> Float
  ) {
    for r in rows.indices {
      for j in rows[r].indices {
        for h in rows[r][j].indices {
          for e in rows[r][j][h].indices { rows[r][j][h][e] *= factor(j, h) }
        }
      }
    }
  }

  /// The scales as keys of one element each, which a geometry places like any other key.
  private func scaleTensor(
    _ attention: AttentionCase, _ placement: AttentionCase.Placement, _ layout: KVLayout,
    _ first: Int, _ pool: TensorPool
  ) -> TensorView {
    var scales = attention
    (scales.dimQK, scales.dimVO) = (1, 1)
    scales.q = scales.q.map { $0.map { $0.map { Array($0.prefix(1)) } } }
    for r in scales.k.indices {
      for j in scales.k[r].indices {
        for h in scales.k[r][j].indices {
          scales.k[r][j][h] = [Self.factor(first + 3 * j + h)]
          scales.v[r][j][h] = [0]
        }
      }
    }
    let separate: AttentionCase.Placement = placement == .combinedPages ? .pages : placement
    guard case .separate(let k, _) = scales.place(separate, layout: layout, in: pool).arguments.kv
    else { preconditionFailure("placements of K and V in two tensors") }
    return k.selecting(0, axis: k.shape.count - 1)
  }
}
