import ApusTestSupport
import CApusSIMD
import Foundation
import Testing

struct MathKernelTests {
  static let lengths = Array(0...18) + [31, 32, 33, 63, 64, 65, 128]

  // MARK: - exp2

  @Test(arguments: KernelTable.all)
  func `exp2 is within 2 ulp on -126 to 0`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    // With m = 0 the probabilities are exp2 of the scores.
    let inputs = Self.magnitudes(upTo: 126, step: 1999).map { -$0 }
    let outputs = Self.map(inputs) { s, count in
      var (m, l): (Float, Float) = (0, 0)
      _ = kernels.softmax_step(s, count, &m, &l)
    }
    var worst = 0.0
    for (input, output) in zip(inputs, outputs) {
      let exact = Foundation.exp2(Double(input))
      worst = max(worst, abs(Double(output) - exact) / ulp(exact))
    }
    print("exp2 \(table): at most \(worst) ulp at \(inputs.count) arguments")
    #expect(worst <= 2)
  }

  @Test(arguments: KernelTable.all)
  func `exp2 is exact at integers and zero below -126`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    let inputs =
      (0...126).map { -Float($0) }
      + [Float(-126).nextDown, -127, -150, -1000, -0x1p100, -.infinity]
    let outputs = Self.map(inputs) { s, count in
      var (m, l): (Float, Float) = (0, 0)
      _ = kernels.softmax_step(s, count, &m, &l)
    }
    for (input, output) in zip(inputs, outputs) {
      expectEqual(
        output, input < -126 ? 0 : Float(sign: .plus, exponent: Int(input), significand: 1))
    }
  }

  // MARK: - softmax_step

  @Test(arguments: KernelTable.all)
  func `softmax_step follows the online recurrence`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(301)
    withEvery("length", in: Self.lengths) { length in
      withEvery("m", in: [-Float.infinity, -3, 40]) { start in
        let s = Matrix(rows: 2, columns: length) { _, column in
          column % 5 == 4 ? -.infinity : Float.random(in: -30..<30, using: &generator)
        }
        let scores = (0..<length).map { Double(s[0, $0]) }
        var m = start
        var l: Float = start == -.infinity ? 0 : 2.5
        let before = Double(l)
        let alpha = kernels.softmax_step(s.start, Int32(length), &m, &l)

        let top = scores.reduce(Double(start), max)
        expectEqual(Double(m), top)
        let isEmpty = top == -.infinity
        let exactAlpha = isEmpty ? 1 : Foundation.exp2(Double(start) - top)
        var sum = before * exactAlpha
        var slack = before * Self.exp2Bound(Double(start) - top, exactAlpha)
        expect(
          abs(Double(alpha) - exactAlpha) <= Self.exp2Bound(Double(start) - top, exactAlpha),
          "alpha \(alpha), not \(exactAlpha)")
        for column in 0..<length {
          let exact = isEmpty ? 0 : Foundation.exp2(scores[column] - top)
          let bound = Self.exp2Bound(scores[column] - top, exact)
          expect(abs(Double(s[0, column]) - exact) <= bound, "p \(s[0, column]), not \(exact)")
          sum += exact
          slack += bound
        }
        // Every term passes at most length + 2 roundings: the additions and l * alpha.
        let bound = slack + gamma(length + 2) * (sum + slack)
        expect(abs(Double(l) - sum) <= bound, "l \(l), not \(sum)")
        expect(s.gapsAreIntact, "wrote beyond the row")
      }
    }
  }

  @Test(arguments: KernelTable.all)
  func `a row of -inf leaves the state alone`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    withEvery("length", in: Self.lengths) { length in
      let s = Matrix(rows: 1, columns: length) { _, _ in -.infinity }
      var (m, l): (Float, Float) = (-.infinity, 0)
      expectEqual(kernels.softmax_step(s.start, Int32(length), &m, &l), 1)
      expectEqual(m, -.infinity)
      expectEqual(l, 0)
      for column in 0..<length { expectEqual(s[0, column].bitPattern, 0) }
      let again = Matrix(rows: 1, columns: length) { _, _ in -.infinity }
      (m, l) = (1.5, 2)
      expectEqual(kernels.softmax_step(again.start, Int32(length), &m, &l), 1)
      expectEqual(m, 1.5)
      expectEqual(l, 2)
    }
  }

  @Test(arguments: KernelTable.all)
  func `the first finite score replaces an empty state`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    withEvery("place", in: 0..<35) { place in
      let s = Matrix(rows: 1, columns: 35) { _, column in column == place ? -7 : -.infinity }
      var (m, l): (Float, Float) = (-.infinity, 0)
      expectEqual(kernels.softmax_step(s.start, 35, &m, &l), 0)
      expectEqual(m, -7)
      expectEqual(l, 1)
      for column in 0..<35 { expectEqual(s[0, column], column == place ? 1 : 0) }
    }
  }

  @Test(arguments: KernelTable.all)
  func `a NaN score poisons p and l but not m`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    withEvery("place", in: 0..<35) { place in
      withEvery("others", in: [-Float.infinity, 2]) { other in
        withEvery("bits", in: [0x7FC0_0000, 0xFFC0_0000, 0x7FFF_FFFF, 0x7FC0_0001]) { bits in
          let nan = Float(bitPattern: UInt32(bits))
          let s = Matrix(rows: 1, columns: 35) { _, column in column == place ? nan : other }
          var (m, l): (Float, Float) = (-.infinity, 0)
          _ = kernels.softmax_step(s.start, 35, &m, &l)
          expectEqual(m, other)
          expect(l.isNaN, "l is \(l)")
          for column in 0..<35 where column != place {
            expectEqual(s[0, column], other == 2 ? 1 : 0)
          }
          expect(s[0, place].isNaN, "p is \(s[0, place])")
        }
      }
    }
  }

  // MARK: - soft_cap

  @Test(arguments: KernelTable.all)
  func `tanh is within 4 ulp`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    let magnitudes = Self.magnitudes(upTo: 20, step: 3001).filter { $0 >= .leastNormalMagnitude }
    let inputs = magnitudes + magnitudes.map { -$0 }
    let outputs = Self.map(inputs) { kernels.soft_cap($0, $1, 1, 1) }
    var worst = 0.0
    for (input, output) in zip(inputs, outputs) {
      let exact = tanh(Double(input))
      worst = max(worst, abs(Double(output) - exact) / ulp(exact))
    }
    print("tanh \(table): at most \(worst) ulp at \(inputs.count) arguments")
    #expect(worst <= 4)
  }

  @Test(arguments: KernelTable.all)
  func `soft_cap keeps signs, saturates at infinity and passes NaN`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    let inputs: [Float] = [0, -0.0, .infinity, -.infinity, 1e30, -1e30, .nan]
    let outputs = Self.map(inputs) { kernels.soft_cap($0, $1, 0.5, 30) }
    #expect(outputs[0].bitPattern == 0)
    #expect(outputs[1].bitPattern == 0x8000_0000)
    #expect(Array(outputs[2...5]) == [30, -30, 30, -30])
    #expect(outputs[6].isNaN)
  }

  // MARK: - Element-wise kernels

  @Test(arguments: KernelTable.all)
  func `scale, add_ramp and soft_cap treat any length and no more`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(302)
    withEvery("length", in: Self.lengths) { length in
      let input = Matrix(rows: 1, columns: length, using: &generator)
      func run(_ kernel: (UnsafeMutablePointer<Float>, Int32) -> Void) -> Matrix {
        let s = Matrix(rows: 2, columns: length) { row, column in
          row == 0 ? input[0, column] : 9
        }
        kernel(s.start, Int32(length))
        expect(s.gapsAreIntact, "wrote beyond the row")
        for column in 0..<length { expectEqual(s[1, column], 9) }
        return s
      }
      let scaled = run { kernels.scale($0, $1, 1.7) }
      let ramp = run { kernels.add_ramp($0, $1, 0.25, -0.125) }
      let capped = run { kernels.soft_cap($0, $1, 0.02, 50) }
      for column in 0..<length {
        let x = input[0, column]
        expectEqual(scaled[0, column], x * 1.7)
        // The bias is exact here, so one rounding is left.
        expectEqual(ramp[0, column], x + (0.25 - 0.125 * Float(column)))
        // Roundings of the argument and of the product, and 4 ulp of 2^-23 relative for tanh.
        let exact = 50 * tanh(Double(x) * Double(Float(0.02)))
        expect(
          abs(Double(capped[0, column]) - exact) <= (2 * roundoff + 4 * 0x1p-23) * abs(exact),
          "soft_cap(\(x)) is \(capped[0, column]), not \(exact)")
      }
    }
  }

  // MARK: - Inputs

  /// Every `step`-th non-negative f32 value up to `limit`, and the limit.
  static func magnitudes(upTo limit: Float, step: Int) -> [Float] {
    stride(from: 0, to: limit.bitPattern, by: step).map(Float.init(bitPattern:)) + [limit]
  }

  /// The outputs of an in-place kernel.
  static func map(
    _ inputs: [Float], _ kernel: (UnsafeMutablePointer<Float>, Int32) -> Void
  ) -> [Float] {
    let matrix = Matrix(rows: 1, columns: inputs.count) { inputs[$1] }
    kernel(matrix.start, Int32(inputs.count))
    return inputs.indices.map { matrix[0, $0] }
  }

  /// Error bound of exp2(x), x a difference of two f32 scores: the rounding of the difference moves
  /// the exponent by at most |x| u, and exp2 adds 2 ulp of at most 2^-23 relative. Below -126
  /// results are flushed.
  static func exp2Bound(_ x: Double, _ exact: Double) -> Double {
    if x == -.infinity || exact == 0 || x.isNaN { return 0 }
    let moved = Foundation.exp2(abs(x) * roundoff) - 1
    return exact * (moved + (1 + moved) * 0x1p-22) + 0x1p-126
  }
}
