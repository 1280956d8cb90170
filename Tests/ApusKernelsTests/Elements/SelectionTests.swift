import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

/// Which configuration a call gets, and the one reason for each that it does not get.
@Suite struct SelectionTests {
  private func tensor(
    _ type: ScalarType, _ shape: [Int], lead: UInt = 0, rowStride: Int? = nil
  ) -> TensorView {
    var strides = TensorView.denseStrides(shape)
    if let rowStride { strides[0] = rowStride }
    return TensorView(
      address: 0x10000 + lead, byteCount: 1 << 20, scalarType: type, shape: shape,
      strides: strides, memory: .cuda(device: 0))
  }

  private func merge(_ v: TensorView) -> [KernelRejection] {
    let s = tensor(.f32, [4, 2])
    return MergeKernel.selection(
      for: MergeArguments(.inPlace(v: v, s: s, otherV: v, otherS: s, mask: nil))
    ).rejected
  }

  @Test func `a merge names what keeps it from wide accesses`() {
    #expect(merge(tensor(.bf16, [4, 2, 64])).isEmpty)
    #expect(
      merge(tensor(.bf16, [4, 2, 60])).map(\.reason)
        == ["the head dimension must be a multiple of 8; found 60"])
    #expect(
      merge(tensor(.bf16, [4, 2, 64], lead: 2)).map(\.reason)
        == ["v must start at a multiple of 16 bytes; found an address ending in 2"])
    #expect(
      merge(tensor(.bf16, [4, 2, 64], rowStride: 129)).map(\.description)
        == [
          "sm80_merge_pair_bf16_bf16_base2_v8_l4: strides of v must be multiples of 16 bytes; "
            + "found 258"
        ])
  }

  @Test func `a rotation names what keeps each tensor from wide accesses`() {
    func reasons(_ q: TensorView, _ k: TensorView, rotaryDim: Int?) -> [[String]] {
      let arguments = RotaryArguments(
        q: q, k: k, qOut: q, kOut: k, positions: [0, 1, 2, 3],
        source: .frequencies(RotaryEmbedding(rotaryDim: rotaryDim)))
      return [true, false].map {
        RotaryKernel.selection(for: arguments, isQuery: $0).rejected.map(\.reason)
      }
    }
    let aligned = tensor(.bf16, [4, 2, 64])
    #expect(reasons(aligned, aligned, rotaryDim: nil) == [[], []])
    #expect(
      reasons(aligned, tensor(.bf16, [4, 2, 64], lead: 8), rotaryDim: nil)
        == [[], ["k must start at a multiple of 16 bytes; found an address ending in 8"]])
    #expect(
      reasons(aligned, tensor(.f32, [4, 2, 64]), rotaryDim: 24)
        == [["rotaryDim must be a multiple of 16; found 24"], []])
  }

  @Test func `general attention names what keeps it from wide accesses`() {
    func reasons(dim: Int, kLead: UInt = 0, rope: RotaryEmbedding? = nil) -> [String] {
      let problem = AttentionProblem(
        shape: AttentionShape(qoHeadCount: 2, kvHeadCount: 1, headDimQK: dim),
        types: AttentionTypes(q: .bf16), qoIndptr: RaggedIndptr([0, 4]),
        geometry: .ragged(RaggedIndptr([0, 4])), modification: ScoreModification(rope: rope))
      let q = tensor(.bf16, [4, 2, dim])
      let k = tensor(.bf16, [4, 1, dim], lead: kLead)
      return GeneralAttention(problem, target: .sm80).selection(
        for: AttentionArguments(
          q: .packed(q), kv: .separate(k: k, v: tensor(.bf16, [4, 1, dim])), o: q)
      ).rejected.map(\.reason)
    }
    #expect(reasons(dim: 64).isEmpty)
    #expect(
      reasons(dim: 64, kLead: 4)
        == ["k must start at a multiple of 16 bytes; found an address ending in 4"])
    #expect(
      reasons(dim: 64, rope: RotaryEmbedding(rotaryDim: 24))
        == ["row widths and rotated parts must be multiples of 8; found 12"])
  }
}
