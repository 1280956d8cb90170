import ApusTestSupport
import Testing

/// Expects float64 values that differ by no more than `operations` roundings of 2⁻⁵³ relative to
/// `magnitude`: the bound of a computation with that many roundings in a row. NaN, infinities and
/// zeros with magnitude 0 must be equal.
func expectClose(
  _ found: [Double], _ expected: [Double], operations: Int, magnitude: [Double]? = nil,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  expectEqual(found.count, expected.count, "count", sourceLocation: sourceLocation)
  var log = Mismatches()
  for index in 0..<Swift.min(found.count, expected.count) {
    let (a, b) = (found[index], expected[index])
    let scale = magnitude?[index] ?? Swift.max(a.magnitude, b.magnitude)
    let isClose =
      a == b || a.isNaN && b.isNaN || (a - b).magnitude <= Double(operations) * 0x1p-53 * scale
    log.check(isClose, "\(a) for \(b) at \(index)")
  }
  if !expected.isEmpty { log.expectNone(sourceLocation: sourceLocation) }
}
