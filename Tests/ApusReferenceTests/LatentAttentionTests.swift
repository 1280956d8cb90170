import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

/// MLA is attention whose keys are latent rows and whose values are their first elements.
@Suite struct LatentAttentionTests {
  private static let latent = LatentShape(ckv: 16, kpe: 8)

  /// Keys of 24 elements, values their first `dimVO`: attention with materialised K and V.
  private static func materialised(
    seed: UInt64, dimVO: Int = 16, kvHeads: Int = 1
  ) -> AttentionCase {
    var result = AttentionCase.random(
      seed: seed, qoLengths: [2, 1], kvLengths: [4, 5], qoHeads: 4, kvHeads: kvHeads, dimQK: 24,
      dimVO: dimVO)
    result.v = result.k.map { $0.map { $0.map { Array($0.prefix(dimVO)) } } }
    result.mask = .causal
    return result
  }

  /// The part of each key row that belongs to ckv or kpe, placed like `placement`.
  private static func part(
    _ range: Range<Int>, of attention: AttentionCase, _ placement: AttentionCase.Placement,
    _ layout: KVLayout, _ pool: TensorPool
  ) -> TensorView {
    var part = attention
    part.dimQK = range.count
    part.q = part.q.map { $0.map { $0.map { Array($0[range]) } } }
    part.k = part.k.map { $0.map { $0.map { Array($0[range]) } } }
    guard case .separate(let k, _) = part.place(placement, layout: layout, in: pool).arguments.kv
    else { preconditionFailure("placements of K and V in two tensors") }
    return k
  }

  private static func withoutHead(_ view: TensorView, _ layout: KVLayout) -> TensorView {
    view.selecting(0, axis: view.shape.count - (layout == .nhd ? 2 : 3))
  }

  @Test func `every form of the latent equals attention with materialised K and V`() throws {
    let attention = Self.materialised(seed: 31)
    let expected = try attention.attend()
    let placements: [AttentionCase.Placement] = [.ragged, .padded, .pages, .blockTable]
    withPool { pool in
      withEvery("placement", in: placements) { placement in
        withEvery("layout", in: KVLayout.allCases) { layout in
          var (problem, arguments) = attention.place(placement, layout: layout, in: pool)
          problem.latent = Self.latent
          let ckv = Self.part(0..<16, of: attention, placement, layout, pool)
          let kpe = Self.part(16..<24, of: attention, placement, layout, pool)
          let whole = Self.part(0..<24, of: attention, placement, layout, pool)
          let short = [ckv, kpe, whole].map { Self.withoutHead($0, layout) }
          let forms: [KVOperand] = [
            .latent(ckv: ckv, kpe: kpe), .latent(ckv: short[0], kpe: short[1]),
            .packedLatent(whole), .packedLatent(short[2]),
          ]
          withEvery("form", in: forms.indices) { form in
            arguments.kv = forms[form]
            expectEqual(try Reference.attention(problem, arguments), expected)
          }
        }
      }
    }
  }

  @Test func `queries in two parts equal queries in one`() throws {
    try withPool { pool in
      let attention = Self.materialised(seed: 32)
      var (problem, arguments) = attention.place(in: pool)
      problem.latent = Self.latent
      arguments.kv = .packedLatent(Self.part(0..<24, of: attention, .ragged, .nhd, pool))
      let expected = try Reference.attention(problem, arguments)
      guard case .packed(let q) = arguments.q else { return }
      arguments.q = .split(nope: q.narrowingLast(0..<16), rope: q.narrowingLast(16..<24))
      #expect(try Reference.attention(problem, arguments) == expected)
    }
  }

  @Test func `values are the first elements of ckv and several latent heads are a GQA`() throws {
    try withPool { pool in
      let attention = Self.materialised(seed: 33, dimVO: 8, kvHeads: 2)
      var (problem, arguments) = attention.place(.pages, in: pool)
      let expected = try Reference.attention(problem, arguments)
      problem.latent = Self.latent
      arguments.kv = .packedLatent(Self.part(0..<24, of: attention, .pages, .nhd, pool))
      #expect(try Reference.attention(problem, arguments) == expected)
    }
  }

  @Test func `the latent's scale holds for K and V and kpe may have its own`() throws {
    try withPool { pool in
      var attention = Self.materialised(seed: 34)
      let stored = Self.part(0..<24, of: attention, .ragged, .nhd, pool)
      // Powers of two: the materialised products are exact.
      attention.k = attention.k.map { $0.map { $0.map { $0.map { 4 * $0 } } } }
      attention.v = attention.v.map { $0.map { $0.map { $0.map { 4 * $0 } } } }
      let same = try attention.attend()
      var (problem, arguments) = attention.place(in: pool)
      problem.latent = Self.latent
      arguments.kv = .packedLatent(stored)
      arguments.scales.k = .tensor(4)
      #expect(try Reference.attention(problem, arguments) == same)

      attention.k = attention.k.map {
        $0.map { $0.map { row in row.indices.map { $0 < 16 ? row[$0] : row[$0] / 2 } } }
      }
      let own = try attention.attend()
      arguments.scales.kpe = .tensor(2)
      #expect(try Reference.attention(problem, arguments) == own)
      #expect(own != same)
    }
  }
}
