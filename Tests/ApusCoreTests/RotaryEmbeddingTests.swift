import ApusCore
import ApusTestSupport
import Foundation
import Testing

@Suite struct RotaryEmbeddingTests {
  /// A few roundings of float64: each side forms about eight products and one power.
  private func agree(_ found: Double, _ expected: Double) -> Bool {
    abs(found - expected) <= 16 * 0x1p-52 * abs(expected)
  }

  @Test(arguments: [64, 128])
  func `plain frequencies are theta to the minus 2i over d, over the scale`(dim: Int) {
    for (scale, theta) in [(1.0, 10_000.0), (4, 10_000), (1, 500_000)] {
      let rope = RotaryEmbedding(scale: scale, theta: theta)
      #expect(rope.frequency(0, dim: dim) == 1 / scale)
      for pair in 0..<(dim / 2) {
        let expected = exp(-Double(2 * pair) / Double(dim) * log(theta)) / scale
        // exp(−x) carries the rounding of x, which is at most ln(theta) < 16.
        #expect(
          abs(rope.frequency(pair, dim: dim) - expected) <= 32 * 0x1p-52 * expected, "\(pair)")
      }
    }
  }

  /// Wavelengths, as the model's publishers state the rule.
  @Test(arguments: [64, 128])
  func `llama-3_1 keeps short waves, divides long ones and blends between`(dim: Int) {
    let rope = RotaryEmbedding.llama31Default
    var kept = 0
    var divided = 0
    var blended = 0
    for pair in 0..<(dim / 2) {
      let plain = RotaryEmbedding(theta: 500_000).frequency(pair, dim: dim)
      let wavelength = 2 * Double.pi / plain
      let found = rope.frequency(pair, dim: dim)
      if wavelength < 8192 / 4 {
        kept += 1
        #expect(agree(found, plain), "\(pair)")
      } else if wavelength > 8192 / 1 {
        divided += 1
        #expect(agree(found, plain / 8), "\(pair)")
      } else {
        blended += 1
        let smooth = (8192 / wavelength - 1) / (4 - 1)
        #expect(agree(found, (1 - smooth) * plain / 8 + smooth * plain), "\(pair)")
      }
    }
    #expect(kept > 0 && divided > 0 && blended > 0)
  }

  @Test func `pairings cover each element once`() {
    let half = RotaryEmbedding(pairing: .half)
    let interleaved = RotaryEmbedding(pairing: .interleaved)
    #expect(half.indices(1, dim: 8) == (1, 5))
    #expect(interleaved.indices(1, dim: 8) == (2, 3))
    for rope in [half, interleaved] {
      let all = (0..<4).flatMap { pair in
        let (first, second) = rope.indices(pair, dim: 8)
        return [first, second]
      }
      #expect(all.sorted() == Array(0..<8))
    }
  }

  @Test func `description names what is not a default`() {
    #expect(
      "\(RotaryEmbedding(pairing: .interleaved, rotaryDim: 32))"
        == "rope(interleaved, scale 1.0, theta 10000.0, dim 32)")
  }

  @Test func `each rule has its message`() {
    func complaint(_ rope: RotaryEmbedding, headDim: Int = 64) -> [String] {
      complaints { $0.requireRotary(rope, headDim: headDim) }
    }
    #expect(complaint(RotaryEmbedding()) == [])
    #expect(complaint(RotaryEmbedding(rotaryDim: 2)) == [])
    #expect(complaint(.llama31Default) == [])
    for (scale, theta) in [(1e-300, 1e4), (1e-308, 1), (1e-10, 1e-308)] {
      #expect(
        complaint(RotaryEmbedding(scale: scale, theta: theta)) == [
          "rope theta and scale must give finite angles at every position; "
            + "found \(theta) and \(scale)."
        ])
    }
    for bad in [Int.min, -2, 0, 33, 66, .max] {
      #expect(
        complaint(RotaryEmbedding(rotaryDim: bad)) == [
          "rotaryDim must be even and in 2…64 (head dimension); found \(bad)."
        ])
    }
    #expect(
      complaint(RotaryEmbedding(), headDim: -4) == [
        "rotaryDim must be even and in 2…-4 (head dimension); found -4."
      ])
    #expect(
      complaint(
        RotaryEmbedding(
          rotaryDim: 7, scale: 0, theta: .nan,
          llama31: .init(
            lowFrequencyFactor: 4, highFrequencyFactor: 4, oldContextLength: .infinity)))
        == [
          "rotaryDim must be even and in 2…64 (head dimension); found 7.",
          "rope scale must be finite and positive; found 0.0.",
          "rope theta must be finite and positive; found nan.",
          "llama31 factors must satisfy 0 < lowFrequencyFactor < highFrequencyFactor; "
            + "found 4.0 and 4.0.",
          "llama31 oldContextLength must be finite and positive; found inf.",
        ])
    #expect(
      complaint(
        RotaryEmbedding(llama31: .init(lowFrequencyFactor: .nan, highFrequencyFactor: .infinity)))
        == [
          "llama31 factors must satisfy 0 < lowFrequencyFactor < highFrequencyFactor; "
            + "found nan and inf."
        ])
  }
}
