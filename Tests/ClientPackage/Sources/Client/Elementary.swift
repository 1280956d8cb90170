#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// `e^x`.
func exponential(_ x: Double) -> Double { exp(x) }
/// `ln x`.
func logarithm(_ x: Double) -> Double { log(x) }

/// A result of the client that is not what it should be.
struct ClientError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = "client: \(description)" }
}

/// Refuses a condition that does not hold.
func require(_ condition: Bool, _ requirement: String) throws {
  guard condition else { throw ClientError("\(requirement) must hold; it does not.") }
}

/// Rounding of f32: every sum of n products errs by at most `n · u · Σ|a||b|`.
let u = 0x1p-24

/// Bound on the relative error of a softmax weight whose score sums `dim` products, `magnitude` in
/// absolute value and scaled: the score's own, that of the maximum, and exp2 within 2 ulp.
func weightError(dim: Int, magnitude: Double) -> Double {
  2 * Double(dim + 4) * u * magnitude + 4 * u
}

/// Bound on the error of a weighted mean of `count` values, relative to the mean of their
/// magnitudes: weights enter its numerator and its denominator, and both are sums.
func meanError(count: Int, weightError: Double) -> Double {
  2 * weightError + Double(2 * count + 8) * u
}
