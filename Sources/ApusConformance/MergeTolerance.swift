internal import ApusCore
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The tolerance of one merged state.
///
/// With `W = Σ w|v| / Σ w`, S states and weights `w = 2^(s − m)`: the exponent's rounding acts as
/// `u·|s − m|` on each weight (and `2u·|s|` more where natural s are read and written as base 2),
/// exp2 as `4u`, the two sums of S terms as `2S·u`. v errs by at most twice that times W, for
/// numerator and denominator, and is rounded to its type; s by the same plus roundings of its size.
struct MergeTolerance {
  private let present: [(v: [Float], s: Float)]
  private let weights: [Double]
  private let total: Double
  private let relative: Double
  private let unit: Double
  private let size: Double

  init(_ states: [(v: [Float], s: Float)], convention: LSEConvention) {
    let u = AttentionTolerance.u
    let empty = convention.external(-.infinity)
    let unit = convention.base == .two ? 1 : AttentionTolerance.ln2
    let present = states.filter { $0.s != -.infinity && $0.s != empty }
    let m = present.map { Double($0.s) / unit }.max() ?? 0
    let weights = present.map { exp2(Double($0.s) / unit - m) }
    let size = present.map { Double($0.s).magnitude / unit }.max() ?? 0
    // A state far below the maximum errs more and counts less: what matters is the product.
    let spread = zip(present, weights).reduce(0.0) { largest, pair in
      Swift.max(largest, (m - Double(pair.0.s) / unit) * pair.1)
    }
    let exponent = u * (spread + (convention.base == .two ? 0 : 2 * size))
    self.present = present
    self.weights = weights
    self.size = size
    self.unit = unit
    total = weights.reduce(0, +)
    relative = exponent + 2 * u * Double(present.count) + 8 * u
  }

  /// Allowance of element `e` whose true value is `value`.
  func value(_ e: Int, _ value: Double, type: ElementType) -> Allowance {
    guard !present.isEmpty else { return Allowance(worst: 0, typical: 0) }
    var magnitude = 0.0
    for (state, weight) in zip(present, weights) {
      magnitude += weight * Double(state.v[e]).magnitude / total
    }
    let error = 2 * relative * magnitude
    let limit = Double(type.greatestFiniteMagnitude)
    let rounding = 0.5 * type.ulp(of: Swift.min(value.magnitude + error, limit))
    return Allowance(worst: error + rounding, typical: error + rounding, rounding: rounding)
  }

  /// Allowance of s, in its own units.
  var logSumExp: Allowance {
    let allowed = relative * unit + 4 * AttentionTolerance.u * size * unit
    return Allowance(worst: allowed, typical: allowed)
  }
}
