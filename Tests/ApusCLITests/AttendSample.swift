import ApusIO
import ApusTestSupport
import ArgumentParser
import Foundation

@testable import ApusCLI

/// Random q [2, 5, 4, 16], k and v [2, 9, 2, 16] in files, and causal attention over them by plain
/// loops in float64.
struct AttendSample {
  static let seed: UInt64 = 7

  let folder: TemporaryFolder
  let path: String
  private(set) var o: [Double] = []
  private(set) var lse: [Double] = []
  /// Bounds on the relative L2 error of o in f32, and with keys and values in e4m3.
  private(set) var f32Bound = 0.0
  private(set) var fp8Bound = 0.0

  init() throws {
    folder = try TemporaryFolder()
    path = folder.path("in.safetensors")
    var random = SplitMix64(seed: Self.seed)
    func values(_ count: Int) -> [Float] {
      (0..<count).map { _ in Float.random(in: -1...1, using: &random) }
    }
    let (q, k, v) = (values(2 * 5 * 4 * 16), values(2 * 9 * 2 * 16), values(2 * 9 * 2 * 16))
    attend(q, k, v)
    try SafetensorsWriter.write(
      [
        TensorContent(name: "q", shape: [2, 5, 4, 16], elements: q),
        TensorContent(name: "k", shape: [2, 9, 2, 16], elements: k),
        TensorContent(name: "v", shape: [2, 9, 2, 16], elements: v),
        TensorContent(name: "flat", shape: [2, 5], elements: values(10)),
        TensorContent(
          name: "count", shape: [2, 5, 4, 16], elements: [Int32](repeating: 1, count: 640)),
        TensorContent(name: "o64", shape: [2, 5, 4, 16], elements: o),
        TensorContent(name: "lse64", shape: [2, 5, 4], elements: lse),
      ], to: path)
    for (name, values, shape) in [
      ("q", q, [2, 5, 4, 16]), ("k", k, [2, 9, 2, 16]), ("v", v, [2, 9, 2, 16]),
    ] {
      try NPYWriter.write(
        TensorContent(name: "", shape: shape, elements: values), to: folder.path("\(name).npy"))
    }
  }

  /// Runs `apus attend` over the sample, causal and with natural logarithms.
  func report(_ options: [String]) throws -> AttendReport {
    let tensors = ["--q", "q", "--k", "k", "--v", "v"]
    return try AttendCommand.parse(
      [path] + tensors + ["--causal", "--lse-base", "e"] + options
    ).report()
  }

  private mutating func attend(_ q: [Float], _ k: [Float], _ v: [Float]) {
    // u = 2⁻²⁴. A score is a sum of 16 products and at most 12 further roundings; the two sums of the
    // weighted mean round each of at most 9 terms twice, with 24 roundings around them.
    let u = 0x1p-24
    var squaredBounds = (f32: 0.0, fp8: 0.0)
    var squaredNorm = 0.0
    for row in 0..<10 {
      for head in 0..<4 {
        let visible = 9 - 5 + row % 5 + 1
        let keys = (0..<visible).map { ((row / 5 * 9 + $0) * 2 + head / 2) * 16 }
        var weights: [Double] = []
        var sum = 0.0
        var epsilon = (f32: 0.0, fp8: 0.0)
        for key in keys {
          var score = 0.0
          var size = 0.0
          var off = 0.0
          for e in 0..<16 {
            let x = Double(q[(row * 4 + head) * 16 + e])
            score += x * Double(k[key + e]) / 4
            size += (x * Double(k[key + e])).magnitude / 4
            off += x.magnitude * Self.greatestRounding(k[key + e]) / 4
          }
          epsilon.f32 = max(epsilon.f32, 28 * u * size)
          epsilon.fp8 = max(epsilon.fp8, 28 * u * (size + off) + off)
          weights.append(exp(score))
          sum += exp(score)
        }
        lse.append(log(sum))
        for e in 0..<16 {
          var output = 0.0
          var allowed = (f32: 0.0, fp8: 0.0)
          for (weight, key) in zip(weights, keys) {
            let value = v[key + e]
            let p = weight / sum
            let size = Double(value.magnitude)
            output += p * Double(value)
            // Scores off by ε change a weight by a factor within e^(±2ε).
            allowed.f32 += p * size * (expm1(2 * epsilon.f32) + 2 * u * (2 * 9 + 24))
            allowed.fp8 +=
              p
              * (size * (expm1(2 * epsilon.fp8) + 2 * u * (2 * 9 + 24))
                + exp(2 * epsilon.fp8) * Self.greatestRounding(value))
          }
          o.append(output)
          squaredBounds.f32 += allowed.f32 * allowed.f32
          squaredBounds.fp8 += allowed.fp8 * allowed.fp8
          squaredNorm += output * output
        }
      }
    }
    f32Bound = (squaredBounds.f32 / squaredNorm).squareRoot()
    fp8Bound = (squaredBounds.fp8 / squaredNorm).squareRoot()
  }

  /// Rounding to e4m3 at a scale of at most 1: a unit roundoff 2⁻⁴, or half a subnormal step 2⁻¹⁰.
  private static func greatestRounding(_ x: Float) -> Double {
    max(0x1p-4 * Double(x.magnitude), 0x1p-10)
  }
}
