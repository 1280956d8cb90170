#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// `e^x`.
func exponential(_ x: Double) -> Double { exp(x) }
/// `log₂ x`.
func binaryLogarithm(_ x: Double) -> Double { log2(x) }
