import ApusCore
import Testing

@Suite struct MergeTests {
  private func refused(
    _ states: MergeArguments.States, memory: MemorySpace = .host
  ) -> String {
    refusal { try MergeArguments(states).validate(memory: memory, operation: "merge") }
  }

  private let v = TensorView.sample(.bf16, [5, 4, 8])
  private let s = TensorView.sample(.f32, [5, 4])

  private func two(
    aV: TensorView? = nil, aS: TensorView? = nil, bV: TensorView? = nil, bS: TensorView? = nil,
    v: TensorView? = nil, s: TensorView? = nil
  ) -> MergeArguments.States {
    .two(
      aV: aV ?? self.v, aS: aS ?? self.s, bV: bV ?? self.v, bS: bS ?? self.s, v: v ?? self.v,
      s: s ?? self.s)
  }

  @Test func `valid merges pass`() {
    #expect(MergeArguments(two()).convention == .base2)
    #expect(refused(two(v: .sample(.f32, [5, 4, 8]))) == "accepted")
    #expect(refused(two(aS: .sample(.f32, [5, 4], strides: [1, 5]))) == "accepted")
    #expect(
      refused(.inPlace(v: v, s: s, otherV: v, otherS: s, mask: .sample(.u8, [5]))) == "accepted")
    #expect(refused(.inPlace(v: v, s: s, otherV: v, otherS: s, mask: nil)) == "accepted")
    for count in [0, 1, 7] {
      #expect(
        refused(
          .many(
            states: .sample(.f16, [5, count, 4, 8]), logits: .sample(.f32, [5, count, 4]), v: v,
            s: s)) == "accepted")
    }
  }

  @Test func `a merge without rows or heads is empty whatever its other extents are`() {
    #expect(!MergeArguments(two()).isEmpty)
    #expect(!MergeArguments(two(v: .sample(.bf16, [5, 4, 0]))).isEmpty)
    let states = TensorView.sample(.bf16, [0, 1 << 40, 4, 8])
    let none = TensorView.sample(.f32, [0, 4])
    for s in [none, .sample(.f32, [1 << 40, 0])] {
      #expect(MergeArguments(two(s: s)).isEmpty)
      #expect(
        MergeArguments(.inPlace(v: v, s: s, otherV: v, otherS: s, mask: nil)).isEmpty)
      #expect(MergeArguments(.many(states: states, logits: states, v: v, s: s)).isEmpty)
    }
  }

  @Test func `two states must agree`() {
    #expect(
      refused(two(aV: .sample(.bf16, [5, 8]))) == "merge: vA must have 3 dimensions; found [5, 8].")
    #expect(
      refused(
        two(
          aS: .sample(.f32, [5, 3]), bV: .sample(.f16, [5, 4, 9]), bS: .sample(.f16, [5, 4]),
          v: .sample(.i32, [5, 4, 8]), s: .sample(.f32, [5, 4], strides: [0, 1]))) == """
          merge: 6 requirements do not hold:
            - vB must have type bf16; found f16.
            - vB must have shape [5, 4, 8]; found [5, 4, 9].
            - v must have type f32, f16, bf16, e4m3, e5m2; found i32.
            - sA must have shape [5, 4]; found [5, 3].
            - sB must have type f32; found f16.
            - s is written and its elements must not overlap; found shape [5, 4], strides [0, 1].
          """)
  }

  @Test func `merging in place checks the mask`() {
    #expect(
      refused(
        .inPlace(
          v: v, s: s, otherV: .sample(.f16, [5, 4, 8]), otherS: .sample(.f32, [4, 4]),
          mask: .sample(.i32, [4]))) == """
          merge: 4 requirements do not hold:
            - vOther must have type bf16; found f16.
            - sOther must have shape [5, 4]; found [4, 4].
            - mask must have type u8; found i32.
            - mask must have shape [5]; found [4].
          """)
    #expect(
      refused(.inPlace(v: .sample(.bf16, []), s: s, otherV: v, otherS: s, mask: nil))
        == "merge: v must have 3 dimensions; found [].")
  }

  @Test func `many states have a dimension of their own`() {
    #expect(
      refused(.many(states: v, logits: s, v: v, s: s))
        == "merge: states must have 4 dimensions; found [5, 4, 8].")
    #expect(
      refused(
        .many(
          states: .sample(.bf16, [6, 2, 4, 8]), logits: .sample(.f32, [6, 3, 4]), v: v, s: s))
          == """
          merge: 3 requirements do not hold:
            - logits must have shape [6, 2, 4]; found [6, 3, 4].
            - v must have shape [6, 4, 8]; found [5, 4, 8].
            - s must have shape [6, 4]; found [5, 4].
          """)
  }

  @Test func `every tensor must live where the back end reads`() {
    func places(_ states: MergeArguments.States) -> [String] {
      refused(states, memory: .cuda(device: 0)).split(separator: "\n").dropFirst().map {
        String($0.dropFirst(4).prefix { $0 != " " })
      }
    }
    #expect(places(two()) == ["vA", "sA", "vB", "sB", "v", "s"])
    #expect(
      places(.inPlace(v: v, s: s, otherV: v, otherS: s, mask: .sample(.u8, [5])))
        == ["v", "s", "vOther", "sOther", "mask"])
    #expect(
      places(
        .many(
          states: .sample(.bf16, [5, 2, 4, 8]), logits: .sample(.f32, [5, 2, 4]), v: v, s: s))
        == ["states", "logits", "v", "s"])
    #expect(
      refused(two(), memory: .cuda(device: 0)).contains(
        "  - vA must live in cuda:0 memory; found host.\n"))
  }
}
