#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// `2^x` in float64, from the C library.
func exp2OfDouble(_ x: Double) -> Double { exp2(x) }
