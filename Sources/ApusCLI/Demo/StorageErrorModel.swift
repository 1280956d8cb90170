import ApusNumerics
import Foundation

/// Predicts what storing q, k, v and o in narrow types costs, from the data.
///
/// Each stored value is off by a rounding error of at most half a step `h` of its type (times its
/// scale), taken as uniform and independent: variance `h²/12`. To first order a score error `δ_j`
/// moves `o = Σ p_j v_j` by `Σ p_j δ_j (v_j − o)`, hence per element
/// ```
/// var(o) = Σ_j p_j² (v_j − o)² · s² Σ_e q_e² var(k_je)     rounding of k
///        + Σ_j p_j  (v_j − o)² · s² Σ_e k_je² var(q_e)     rounding of q, shared by all j (Jensen)
///        + Σ_j p_j² var(v_j) + var(round_o)                rounding of v and o
/// ```
/// with `s` the softmax scale. The expected relative L2 error is `√Σ var / ‖o‖`; the bound is twice
/// that, as with the roundings of the arithmetic. A worst-case bound would say nothing: FP8 rounding
/// errors of k that all pull one way move a score by more than 1, and its weight by a factor.
struct StorageErrorModel: Sendable {
  /// How one operand is stored.
  struct Storage: Sendable {
    /// Element type.
    var type: ElementType
    /// Scale of each row of `headDim` values; nil is 1.
    var scales: [Float]?

    /// Variance of the rounding error of a value in row `row`; 0 where f32 is stored as f32.
    func variance(_ value: Float, row: Int) -> Double {
      guard type != .f32 else { return 0 }
      let scale = scales.map { Double($0[row]) } ?? 1
      let step = type.ulp(of: Double(value) / scale) * scale
      return step * step / 12
    }

    /// Variances of all values.
    func variances(_ values: [Float], width: Int) -> [Double] {
      values.indices.map { variance(values[$0], row: $0 / width) }
    }
  }

  /// Rows of q, k and v are (token, head).
  var q: Storage
  var k: Storage
  var v: Storage
  var o: ElementType

  /// Expected squared error of each token's output and its squared norm, causal.
  ///
  /// - Parameters:
  ///   - data: gives the shape.
  ///   - layer: the tensors in f32.
  func causalRows(
    _ data: ExampleData, _ layer: ExampleData.Layer
  ) -> [(error: Double, norm: Double)] {
    let (tokens, heads, dim) = (data.tokenCount, data.headCount, data.headDim)
    let scale = 1 / Double(dim).squareRoot()
    let qVariance = q.variances(layer.q, width: dim)
    let kVariance = k.variances(layer.k, width: dim)
    let vVariance = v.variances(layer.v, width: dim)
    let outputs = Storage(type: o)
    var rows = [(error: Double, norm: Double)](repeating: (0, 0), count: tokens)
    var weights = [Double](repeating: 0, count: tokens)
    var kTerms = weights
    var qTerms = weights
    var means = [Double](repeating: 0, count: dim)
    var variances = means
    for head in 0..<heads {
      for i in 0..<tokens {
        let query = (i * heads + head) * dim
        for j in 0...i {
          let key = (j * heads + head) * dim
          var product = 0.0
          var kTerm = 0.0
          var qTerm = 0.0
          for e in 0..<dim {
            let (x, y) = (Double(layer.q[query + e]), Double(layer.k[key + e]))
            product += x * y
            kTerm += x * x * kVariance[key + e]
            qTerm += y * y * qVariance[query + e]
          }
          weights[j] = product * scale
          kTerms[j] = kTerm * scale * scale
          qTerms[j] = qTerm * scale * scale
        }
        normalise(&weights, count: i + 1)
        for e in 0..<dim { (means[e], variances[e]) = (0, 0) }
        for j in 0...i {
          let value = (j * heads + head) * dim
          for e in 0..<dim { means[e] += weights[j] * Double(layer.v[value + e]) }
        }
        for j in 0...i {
          let value = (j * heads + head) * dim
          let p = weights[j]
          let scores = p * (p * kTerms[j] + qTerms[j])
          for e in 0..<dim {
            let distance = Double(layer.v[value + e]) - means[e]
            variances[e] += p * p * vVariance[value + e] + distance * distance * scores
          }
        }
        for e in 0..<dim {
          rows[i].error += variances[e] + outputs.variance(Float(means[e]), row: 0)
          rows[i].norm += means[e] * means[e]
        }
      }
    }
    return rows
  }

  /// Bound on the relative L2 error of some rows of `causalRows`.
  static func bound(_ rows: [(error: Double, norm: Double)]) -> Double {
    let error = rows.reduce(0) { $0 + $1.error }
    let norm = rows.reduce(0) { $0 + $1.norm }
    return 2 * (error / norm).squareRoot()
  }

  /// Softmax in place of the first `count` scores.
  private func normalise(_ scores: inout [Double], count: Int) {
    var greatest = -Double.infinity
    for j in 0..<count { greatest = max(greatest, scores[j]) }
    var sum = 0.0
    for j in 0..<count {
      scores[j] = exp(scores[j] - greatest)
      sum += scores[j]
    }
    for j in 0..<count { scores[j] /= sum }
  }
}
