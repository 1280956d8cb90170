import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@Suite struct ReferenceRotateTests {
  private func rotate(
    _ row: [Float], position: Int, _ source: (TensorPool) -> RotarySource
  ) throws -> [Double] {
    try withPool { pool in
      let q = pool.tensor(.f32, [1, 1, row.count], row)
      let k = pool.tensor(.f32, [1, 2, row.count], row + row)
      let qOut = pool.tensor(.f32, [1, 1, row.count])
      let kOut = pool.tensor(.f32, [1, 2, row.count])
      let result = try Reference.rotate(
        RotaryArguments(
          q: q, k: k, qOut: qOut, kOut: kOut, positions: [position], source: source(pool)))
      #expect(result.k == result.q + result.q)
      #expect(HostTensor(qOut).values.allSatisfy { $0.isNaN }, "the outputs must not be written")
      return result.q
    }
  }

  // cos 1 and sin 1.
  private let cosine = 0.54030230586813977
  private let sine = 0.84147098480789650

  @Test func `one pair turns by its position times its frequency`() throws {
    // The first pair has frequency 1 whatever theta is.
    let result = try rotate([3, 2], position: 1) { _ in .frequencies(RotaryEmbedding()) }
    expectClose(
      result, [3 * cosine - 2 * sine, 2 * cosine + 3 * sine], operations: 8,
      magnitude: [5, 5])
  }

  @Test func `halves and neighbours pair up`() throws {
    // theta 1 gives every pair frequency 1.
    let half = try rotate([1, 0, 0, 1], position: 1) { _ in
      .frequencies(RotaryEmbedding(pairing: .half, theta: 1))
    }
    expectClose(half, [cosine, -sine, sine, cosine], operations: 4)
    let interleaved = try rotate([1, 0, 0, 1], position: 1) { _ in
      .frequencies(RotaryEmbedding(pairing: .interleaved, theta: 1))
    }
    expectClose(interleaved, [cosine, sine, -sine, cosine], operations: 4)
  }

  @Test func `the scale divides positions and elements past the rotary dimension stay`() throws {
    let result = try rotate([1, 0, 7, 9], position: 4) { _ in
      .frequencies(RotaryEmbedding(rotaryDim: 2, scale: 4))
    }
    expectClose(result, [cosine, sine, 7, 9], operations: 4)
  }

  @Test func `position 0 changes nothing`() throws {
    let row: [Float] = [1, -2, 3, 4, 5, 6, 7, 8]
    let result = try rotate(row, position: 0) { _ in .frequencies(.llama31Default) }
    #expect(result == row.map(Double.init))
  }

  @Test func `frequencies fall as theta to minus twice the pair over the dimension`() throws {
    // theta 16 and dimension 4: frequencies 1 and 16^(−1/2) = 1/4, so position 4 turns pair 1 by 1.
    let result = try rotate([0, 1, 0, 0], position: 4) { _ in
      .frequencies(RotaryEmbedding(pairing: .half, theta: 16))
    }
    expectClose(result, [0, cosine, 0, sine], operations: 8)
  }

  @Test func `llama 3.1 keeps fast frequencies and divides slow ones`() throws {
    // One rotation per position is fast: s = clamp(8192/6π − 1/3, 0, 1) = 1 keeps frequency 1. The
    // second pair, 10⁻⁶ radians per position, is slow: s = 0 divides it by the scale.
    let rope = RotaryEmbedding(scale: 8, theta: 1e12, llama31: .init())
    let fast = try rotate([1, 0, 0, 0], position: 1) { _ in .frequencies(rope) }
    expectClose(fast, [cosine, 0, sine, 0], operations: 4)
    let slow = try rotate([0, 1, 0, 0], position: 8_000_000) { _ in .frequencies(rope) }
    // The frequency carries a few roundings, and so does the angle 1.
    expectClose(slow, [0, cosine, 0, sine], operations: 16)
  }

  @Test func `a table gives cosines and sines of its row`() throws {
    let half = try rotate([1, 2, 3, 4], position: 1) { pool in
      .cosSinCache(
        pool.tensor(.f32, [2, 4], [9, 9, 9, 9, 0.5, 2, 0.25, -1]), pairing: .half)
    }
    // Pairs (1, 3) with (½, ¼) and (2, 4) with (2, −1).
    // 1·½ − 3·¼, 2·2 + 4·1, 3·½ + 1·¼, 4·2 − 2·1.
    #expect(half == [-0.25, 8, 1.75, 6])
    let interleaved = try rotate([1, 2, 3, 4, 5], position: 0) { pool in
      .cosSinCache(pool.tensor(.f32, [1, 4], [0.5, 2, 0.25, -1]), pairing: .interleaved)
    }
    // 1·½ − 2·¼, 2·½ + 1·¼, 3·2 + 4·1, 4·2 − 3·1.
    #expect(interleaved == [0, 1.25, 10, 5, 5])
  }

  @Test func `a rotation is refused when positions and rows differ`() {
    withPool { pool in
      let view = pool.tensor(.bf16, [2, 1, 8])
      let error = #expect(throws: ArgumentError.self) {
        try Reference.rotate(
          RotaryArguments(
            q: view, k: view, qOut: view, kOut: view, positions: [0],
            source: .frequencies(RotaryEmbedding())))
      }
      #expect(error?.operation == "Reference.rotate")
    }
  }
}
