import ApusCore
import Testing

@Suite struct AttentionArgumentsTests {
  /// Arguments that fit `AttentionProblem.sample()`.
  private let valid = AttentionArguments(
    q: .packed(.sample(.bf16, [5, 4, 16])),
    kv: .separate(k: .sample(.e4m3, [9, 2, 16]), v: .sample(.e4m3, [9, 2, 8])),
    o: .sample(.f16, [5, 4, 8]), lse: .sample(.f32, [5, 4]), sinks: .sample(.f32, [4]))

  private func refused(
    _ problem: AttentionProblem = .sample(), _ change: (inout AttentionArguments) -> Void
  ) -> String {
    var arguments = valid
    change(&arguments)
    return refusal { try arguments.validate(for: problem, memory: .host, operation: "run") }
  }

  @Test func `valid arguments of every geometry pass`() {
    #expect(refused { _ in } == "accepted")
    #expect(refused { $0.lse = .sample(.f32, [5, 4], strides: [1, 5]) } == "accepted")
    // More rows than the batch uses.
    #expect(
      refused {
        $0.q = .packed(.sample(.bf16, [7, 4, 16]))
        $0.o = .sample(.f16, [6, 4, 8])
        $0.lse = nil
      } == "accepted")
    #expect(
      refused(.sample(layout: .hnd)) {
        $0.kv = .separate(k: .sample(.e4m3, [2, 9, 16]), v: .sample(.e4m3, [2, 10, 8]))
      } == "accepted")
    #expect(
      refused(.sample(geometry: .padded(maxLength: 6, lengths: [4, 5]))) {
        $0.kv = .separate(k: .sample(.e4m3, [2, 6, 2, 16]), v: .sample(.e4m3, [2, 6, 2, 8]))
        $0.scales.v = .tokenHead(.sample(.f32, [2, 6, 2]))
      } == "accepted")
    #expect(
      refused(.sample(geometry: .paged(.sample), layout: .hnd)) {
        $0.kv = .separate(k: .sample(.e4m3, [3, 2, 4, 16]), v: .sample(.e4m3, [4, 2, 4, 8]))
        $0.scales.k = .tokenHead(.sample(.f32, [3, 2, 4]))
      } == "accepted")
  }

  @Test func `each rule has its message`() {
    #expect(
      refused { $0.q = .packed(.sample(.bf16, [4, 4, 16])) }
        == "run: q must hold the rows of qoIndptr; found 4 of 5.")
    #expect(
      refused { $0.o = .sample(.f16, [4, 4, 8]) }
        == "run: o must hold the rows of qoIndptr; found 4 of 5.")
    #expect(
      refused { $0.lse = .sample(.f32, [4, 4]) }
        == "run: lse must hold the rows of qoIndptr; found 4 of 5.")
    #expect(
      refused { $0.o = .sample(.f16, [5, 4, 8], strides: [0, 8, 1]) }
        == "run: o is written and its elements must not overlap; "
        + "found shape [5, 4, 8], strides [0, 8, 1].")
    #expect(
      refused { $0.sinks = .sample(.f32, [3]) } == "run: sinks must have shape [4]; found [3].")
    #expect(
      refused {
        $0.kv = .separate(k: .sample(.e4m3, [8, 2, 16]), v: .sample(.e4m3, [9, 2, 8]))
      } == "run: kvIndptr must end within the tokens of k; found 9 of 8.")
    #expect(
      refused { $0.kv = .combined(.sample(.e4m3, [3, 2, 4, 2, 16])) }
        == "run: combined kv must belong to a paged geometry; found ragged(batch 2, 9 tokens).")
    #expect(
      refused { $0.kv = .packedLatent(.sample(.e4m3, [9, 2, 16])) }
        == "run: a latent operand must belong to an MLA problem; "
        + "found a problem without a latent.")
    #expect(
      refused { $0.q = .split(nope: .sample(.bf16, [5, 4, 8]), rope: .sample(.bf16, [5, 4, 8])) }
        == "run: q in two parts must belong to an MLA problem; "
        + "found a problem without a latent.")
    #expect(
      refused { $0.scales.q = .tokenHead(.sample(.f32, [5, 4])) }
        == "run: qScale must be per tensor or per head; found token-head. "
        + "Only K and V caches carry token-head scales.")
    #expect(
      refused { $0.scales.o = .tensor(0) }
        == "run: oScale must be finite and positive; found 0.0.")
    #expect(
      refused { $0.scales.kpe = .tensor(2) }
        == "run: kpeScale must be one outside MLA; found tensor 2.0.")
    #expect(
      refused { $0.scales.k = .tokenHead(.sample(.f32, [8, 2])) }
        == "run: kvIndptr must end within the tokens of kScale; found 9 of 8.")
  }

  @Test func `pages in use must exist in every cache tensor`() {
    let problem = AttentionProblem.sample(geometry: .paged(.sample))
    func refused(k: Int, v: Int, kScale: Int = 3) -> String {
      self.refused(problem) {
        $0.kv = .separate(k: .sample(.e4m3, [k, 4, 2, 16]), v: .sample(.e4m3, [v, 4, 2, 8]))
        $0.scales.k = .tokenHead(.sample(.f32, [kScale, 4, 2]))
      }
    }
    #expect(refused(k: 3, v: 3) == "accepted")
    #expect(
      refused(k: 2, v: 3)
        == "run: page indices must be below the page count of k; found index 2 of 2 pages.")
    #expect(
      refused(k: 3, v: 2)
        == "run: page indices must be below the page count of v; found index 2 of 2 pages.")
    #expect(
      refused(k: 3, v: 3, kScale: 0)
        == "run: page indices must be below the page count of kScale; found index 2 of 0 pages.")
  }

  @Test func `combined kv needs equal widths`() {
    let square = AttentionShape(qoHeadCount: 4, kvHeadCount: 2, headDimQK: 16)
    let kv = KVOperand.combined(.sample(.e4m3, [3, 2, 4, 2, 16]))
    #expect(
      refused(.sample(shape: square, geometry: .paged(.sample))) {
        $0.kv = kv
        $0.o = .sample(.f16, [5, 4, 16])
      } == "accepted")
    #expect(
      refused(.sample(geometry: .paged(.sample))) { $0.kv = kv }
        == "run: combined kv must have headDimQK equal to headDimVO; found 16 and 8.")
    #expect(
      refused(.sample(shape: square, geometry: .paged(.sample))) {
        $0.kv = .combined(.sample(.e4m3, [2, 2, 4, 2, 16]))
        $0.o = .sample(.f16, [5, 4, 16])
      } == "run: page indices must be below the page count of kv; found index 2 of 2 pages.")
  }

  @Test func `latent operands`() {
    let problem = AttentionProblem.sample(
      shape: AttentionShape(qoHeadCount: 4, kvHeadCount: 1, headDimQK: 24, headDimVO: 16),
      geometry: .paged(.sample), latent: LatentShape(ckv: 16, kpe: 8))
    func refused(_ change: (inout AttentionArguments) -> Void) -> String {
      self.refused(problem) {
        $0.q = .split(nope: .sample(.bf16, [5, 4, 16]), rope: .sample(.bf16, [5, 4, 8]))
        $0.kv = .latent(ckv: .sample(.e4m3, [3, 4, 16]), kpe: .sample(.e4m3, [3, 4, 1, 8]))
        $0.o = .sample(.f16, [5, 4, 16])
        change(&$0)
      }
    }
    #expect(refused { $0.scales.kpe = .tensor(0.5) } == "accepted")
    #expect(refused { $0.kv = .packedLatent(.sample(.e4m3, [3, 4, 24])) } == "accepted")
    #expect(refused { $0.q = .packed(.sample(.bf16, [5, 4, 24])) } == "accepted")
    #expect(
      refused { $0.kv = .packedLatent(.sample(.e4m3, [2, 4, 24])) }
        == "run: page indices must be below the page count of latent; found index 2 of 2 pages.")
    #expect(
      refused {
        $0.kv = .latent(ckv: .sample(.e4m3, [3, 4, 16]), kpe: .sample(.e4m3, [2, 4, 8]))
      } == "run: page indices must be below the page count of kpe; found index 2 of 2 pages.")
    #expect(
      refused {
        $0.q = .split(nope: .sample(.bf16, [5, 4, 16]), rope: .sample(.bf16, [4, 4, 8]))
      } == "run: qRope must hold the rows of qoIndptr; found 4 of 5.")
    #expect(
      refused { $0.scales.v = .tensor(2) }
        == "run: vScale must be one for MLA; found tensor 2.0. "
        + "The latent's scale is kScale; it applies to K and V.")
    #expect(
      refused {
        $0.scales.k = .tokenHead(.sample(.f32, [3, 4, 1]))
        $0.scales.kpe = .tensor(2)
      } == "run: kpeScale must be one beside a token-head kScale; found tensor 2.0.")
    #expect(
      refused {
        $0.kv = .separate(k: .sample(.e4m3, [3, 4, 1, 24]), v: .sample(.e4m3, [3, 4, 1, 16]))
      } == "run: an MLA problem must have a latent operand; found k and v.")
  }

  @Test func `every tensor must live where the back end reads`() {
    let device = MemorySpace.cuda(device: 0)
    var arguments = valid
    arguments.scales = AttentionScales(
      q: .head(.sample(.f32, [4])), k: .tokenHead(.sample(.f32, [9, 2])),
      v: .head(.sample(.f32, [2])), o: .head(.sample(.f32, [4])))
    #expect(
      refusal { try arguments.validate(for: .sample(), memory: device, operation: "run") } == """
        run: 10 requirements do not hold:
          - q must live in cuda:0 memory; found host.
          - k must live in cuda:0 memory; found host.
          - v must live in cuda:0 memory; found host.
          - o must live in cuda:0 memory; found host.
          - lse must live in cuda:0 memory; found host.
          - sinks must live in cuda:0 memory; found host.
          - qScale must live in cuda:0 memory; found host.
          - kScale must live in cuda:0 memory; found host.
          - vScale must live in cuda:0 memory; found host.
          - oScale must live in cuda:0 memory; found host.
        """)
  }

  @Test func `one error names every violation`() {
    #expect(
      refused {
        $0.q = .packed(.sample(.f16, [4, 4, 16]))
        $0.o = .sample(.f32, [])
        $0.lse = .sample(.f16, [.min, 4], byteCount: 0)
        $0.scales.o = .tensor(.nan)
      } == """
        run: 10 requirements do not hold:
          - q must hold the rows of qoIndptr; found 4 of 5.
          - q must have type bf16; found f16.
          - o must hold the rows of qoIndptr; found 0 of 5.
          - o must have type f16; found f32.
          - o must have shape [any, 4, 8]; found [].
          - lse must hold the rows of qoIndptr; found -9223372036854775808 of 5.
          - lse must have type f32; found f16.
          - lse must have shape [any, 4]; found [-9223372036854775808, 4].
          - lse must have a size that fits 63 bits; found shape [-9223372036854775808, 4], strides [4, 1].
          - oScale must be finite and positive; found nan.
        """)
  }
}
