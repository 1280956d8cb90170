#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// A row of attention in float64, from its scores in base 2 and its values.
struct SampleSoftmax: Sendable {
  /// The row of o.
  private(set) var o: [Double]
  /// Σ p·|v|, of which errors of weights are a part.
  private(set) var magnitude: [Double]
  /// In base 2; −∞ without keys.
  private(set) var lse = -Double.infinity

  /// - Parameters:
  ///   - sink: a score that joins the denominator of o alone.
  ///   - values: the row of each visible key.
  init(scores: [Double], sink: Double? = nil, width: Int, values: (Int) -> [Double]) {
    o = [Double](repeating: 0, count: width)
    magnitude = o
    guard let greatest = scores.max(), greatest > -.infinity else { return }
    let origin = max(greatest, sink ?? greatest)
    let weights = scores.map { exp2($0 - origin) }
    let keys = weights.reduce(0, +)
    let sum = keys + (sink.map { exp2($0 - origin) } ?? 0)
    lse = origin + log2(keys)
    for (index, weight) in weights.enumerated() where weight > 0 {
      for (column, value) in values(index).enumerated() {
        let term = weight / sum * value
        o[column] += term
        magnitude[column] += term.magnitude
      }
    }
  }
}
