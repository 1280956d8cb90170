internal import ApusNumerics

/// Collects how a tensor compares with its definition, and says so in few lines.
struct Comparison {
  /// The tensor, for messages.
  let name: String
  private(set) var failures: [String] = []
  private(set) var failureCount = 0
  /// Largest error beyond the stored type's rounding relative to its allowance, elementwise, and
  /// the L2 error relative to its own; above 1 is a failure.
  private(set) var margin = 0.0
  private var squaredError = 0.0
  private var squaredTypical = 0.0
  private var squaredNaive = 0.0
  private static let sampleLimit = 3

  init(_ name: String) { self.name = name }

  /// Compares one element.
  ///
  /// - Parameters:
  ///   - bits: stored bits of `found`.
  ///   - naive: the naive computation's value, or nil where there is none.
  mutating func check(
    _ index: @autoclosure () -> String, found: Float, bits: UInt32, expected: Double,
    allowance: Allowance, naive: Float? = nil
  ) {
    if found.isNaN || expected.isNaN {
      if found.isNaN != expected.isNaN {
        fail("\(index()): found \(found) (0x\(hex(bits))), expected \(expected)")
      }
      return
    }
    if expected.isInfinite || found.isInfinite {
      if Double(found) != expected {
        fail("\(index()): found \(found) (0x\(hex(bits))), expected \(expected)")
      }
      return
    }
    let error = (Double(found) - expected).magnitude
    squaredError += error * error
    squaredTypical += allowance.typical * allowance.typical
    if let naive, naive.isFinite {
      let naiveError = Double(naive) - expected
      squaredNaive += naiveError * naiveError
    }
    // Rounding to the stored type uses up its half unit in nearly every element: what is left
    // tells how the arithmetic fares.
    let excess = error - allowance.rounding
    if excess > 0 {
      margin = Swift.max(margin, excess / (allowance.worst - allowance.rounding))
    }
    // Written so that a NaN allowance fails.
    guard error <= allowance.worst else {
      fail(
        "\(index()): found \(found) (0x\(hex(bits))), expected \(expected) "
          + "± \(allowance.worst)")
      return
    }
  }

  /// Records a failure that is not a difference of values.
  mutating func fail(_ text: String) {
    failureCount += 1
    if failures.count < Self.sampleLimit { failures.append("\(name)\(text)") }
  }

  /// Adds the L2 verdict and returns everything found.
  mutating func finish() -> [String] {
    let limit = 2 * squaredNaive.squareRoot() + squaredTypical.squareRoot()
    let error = squaredError.squareRoot()
    if error > 0 { margin = Swift.max(margin, error / limit) }
    if !(error <= limit) {
      failureCount += 1
      failures.append("\(name): L2 error \(error), allowed \(limit)")
    }
    if failureCount > failures.count {
      failures.append("\(name): \(failureCount - failures.count) more")
    }
    return failures
  }

  private func hex(_ bits: UInt32) -> String { String(bits, radix: 16) }
}
