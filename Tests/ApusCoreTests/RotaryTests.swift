import ApusCore
import Testing

@Suite struct RotaryTests {
  private let valid = RotaryArguments(
    q: .sample(.bf16, [3, 4, 64]), k: .sample(.e4m3, [3, 2, 64]), qOut: .sample(.bf16, [3, 4, 64]),
    kOut: .sample(.e4m3, [3, 2, 64]), positions: [0, 5, 9], source: .frequencies(RotaryEmbedding()))

  private func refused(
    memory: MemorySpace = .host, _ change: (inout RotaryArguments) -> Void
  ) -> String {
    var arguments = valid
    change(&arguments)
    return refusal { try arguments.validate(memory: memory, operation: "rotate") }
  }

  @Test func `valid rotations pass`() {
    #expect(refused { _ in } == "accepted")
    #expect(
      refused { $0.source = .cosSinCache(.sample(.f32, [10, 64]), pairing: .half) } == "accepted")
    #expect(
      refused {
        $0.q = .sample(.bf16, [0, 4, 64])
        $0.qOut = $0.q
        $0.k = .sample(.f32, [0, 0, 64])
        $0.kOut = $0.k
        $0.positions = []
      } == "accepted")
  }

  @Test func `the rotated dimension comes from the source`() {
    var arguments = valid
    #expect(arguments.rotaryDim == 64)
    arguments.source = .frequencies(RotaryEmbedding(rotaryDim: 32))
    #expect(arguments.rotaryDim == 32)
    arguments.source = .cosSinCache(.sample(.f32, [10, 48]), pairing: .interleaved)
    #expect(arguments.rotaryDim == 48)
    arguments.source = .cosSinCache(.sample(.f32, []), pairing: .interleaved)
    #expect(arguments.rotaryDim == 0)
  }

  @Test func `each rule has its message`() {
    #expect(
      refused { $0.q = .sample(.bf16, [3, 64]) }
        == "rotate: q and k must have 3 dimensions; found [3, 64] and [3, 2, 64].")
    #expect(
      refused { $0.positions = [0, 5] } == """
        rotate: 2 requirements do not hold:
          - q must have shape [2, any, any]; found [3, 4, 64].
          - k must have shape [2, any, 64]; found [3, 2, 64].
        """)
    for bad in [Int.min, -1, 1 << 31, .max] {
      #expect(
        refused { $0.positions[1] = bad }
          == "rotate: positions must be in 0…2147483647; found \(bad) at row 1.")
    }
    #expect(
      refused { $0.source = .cosSinCache(.sample(.f32, [9, 64]), pairing: .half) }
        == "rotate: positions must be in 0…8; found 9 at row 2.")
    #expect(
      refused { $0.source = .frequencies(RotaryEmbedding(rotaryDim: 66)) }
        == "rotate: rotaryDim must be even and in 2…64 (head dimension); found 66.")
    #expect(
      refused {
        $0.source = .cosSinCache(
          .sample(.f32, [.min, 66], byteCount: 0, memory: .cuda(device: 0)), pairing: .half)
      } == """
        rotate: 5 requirements do not hold:
          - cosSinCache must have shape [any, any]; found [-9223372036854775808, 66].
          - cosSinCache must have a size that fits 63 bits; found shape [-9223372036854775808, 66], strides [66, 1].
          - cosSinCache must live in host memory; found cuda:0.
          - cosSinCache must have an even width in 2…64 (head dimension); found 66.
          - positions must be in 0…-1; found 0 at row 0.
        """)
    #expect(
      refused(memory: .cuda(device: 0)) {
        $0.qOut = .sample(.f16, [3, 4, 64])
        $0.kOut = .sample(.e4m3, [3, 2, 64], strides: [64, 64, 1])
      } == """
        rotate: 6 requirements do not hold:
          - q must live in cuda:0 memory; found host.
          - k must live in cuda:0 memory; found host.
          - qOut must live in cuda:0 memory; found host.
          - kOut must live in cuda:0 memory; found host.
          - qOut must have type bf16; found f16.
          - kOut is written and its elements must not overlap; found shape [3, 2, 64], strides [64, 64, 1].
        """)
  }

  @Test func `a table must not be wider than the head, however narrow that is`() {
    for dim in [0, 1] {
      #expect(
        refused {
          $0.q = .sample(.f32, [3, 1, dim])
          $0.k = $0.q
          ($0.qOut, $0.kOut) = ($0.q, $0.k)
          $0.source = .cosSinCache(.sample(.f32, [10, 2]), pairing: .half)
        } == "rotate: cosSinCache must have an even width in 2…\(dim) (head dimension); found 2.")
    }
  }

  @Test func `positions count up from each request's offset`() throws {
    #expect(
      try RotaryArguments.positions(indptr: RaggedIndptr([0, 2, 2, 5]), offsets: [7, 100, 0])
        == [7, 8, 0, 1, 2])
    #expect(try RotaryArguments.positions(indptr: RaggedIndptr([0]), offsets: []) == [])
    // An offset that overflows gives positions that validation refuses.
    #expect(
      try RotaryArguments.positions(indptr: RaggedIndptr([0, 2]), offsets: [.max])
        == [.max, .min])
  }

  @Test func `positions refuse lists that do not match`() {
    func refused(_ offsets: [Int], _ starts: [Int]) -> String {
      refusal {
        try RotaryArguments.positions(indptr: RaggedIndptr(offsets), offsets: starts)
      }
    }
    #expect(
      refused([1, 2], [0, 0]) == """
        RotaryArguments.positions: 2 requirements do not hold:
          - offsets must hold one value per request; found 2 for batch 1.
          - indptr must start at 0; found 1.
        """)
    #expect(
      refused([], [])
        == "RotaryArguments.positions: indptr must hold batch + 1 offsets; found none. "
        + "Pass [0] for an empty batch.")
  }
}
