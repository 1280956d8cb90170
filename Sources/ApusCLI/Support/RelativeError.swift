/// `‖found − expected‖₂ / ‖expected‖₂`; the norm of `found` where everything expected is 0.
///
/// Equal infinities, the log-sum-exps of empty rows, count as no difference; NaN where either holds
/// one, or where the numbers of values differ: NaN is within no bound.
func relativeError(_ found: [Float], _ expected: [Double]) -> Double {
  guard found.count == expected.count else { return .nan }
  var squaredDifference = 0.0
  var squaredNorm = 0.0
  for (a, b) in zip(found, expected) {
    if b.isInfinite, Double(a) == b { continue }
    let difference = Double(a) - b
    squaredDifference += difference * difference
    squaredNorm += b * b
  }
  let error = squaredDifference.squareRoot()
  return squaredNorm > 0 ? error / squaredNorm.squareRoot() : error
}
