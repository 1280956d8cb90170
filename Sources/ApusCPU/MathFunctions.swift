#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Sine and cosine in float64.
@inline(__always)
func sineAndCosine(_ angle: Double) -> (sine: Double, cosine: Double) { (sin(angle), cos(angle)) }

/// One rotation, rounded once: `(a·cos − b·sin, b·cos + a·sin)`.
@inline(__always)
func rotatePair(_ a: Float, _ b: Float, cosine: Double, sine: Double) -> (Float, Float) {
  let (a, b) = (Double(a), Double(b))
  return (Float(a * cosine - b * sine), Float(b * cosine + a * sine))
}

/// `2^x` in float64.
@inline(__always) func exponential2(_ x: Double) -> Double { exp2(x) }

/// `log₂ x` in float64.
@inline(__always) func logarithm2(_ x: Double) -> Double { log2(x) }
