#if canImport(Glibc)
  internal import Glibc
#endif

/// Where the tensors of a long run lie.
enum BenchMemory {
  /// Keeps freed memory in the process: a run frees and allocates gigabytes per case, and having the
  /// system clear every page again takes longer than the measurements.
  static func keepFreed() {
    #if canImport(Glibc)
      // Swift's module of the C library has no <malloc.h>; M_MMAP_MAX is -4, M_TRIM_THRESHOLD -1.
      guard let symbol = dlsym(nil, "mallopt") else { return }
      let mallopt = unsafeBitCast(symbol, to: (@convention(c) (Int32, Int32) -> Int32).self)
      _ = mallopt(-4, 0)
      _ = mallopt(-1, -1)
    #endif
  }
}
