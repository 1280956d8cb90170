internal import ApusCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Memory aligned to a cache line; frees through `deallocate`.
///
/// Swift's own allocation aborts the process when memory runs out; this one throws.
func allocate(byteCount: Int, operation: String) throws(ApusError) -> UnsafeMutableRawPointer {
  var pointer: UnsafeMutableRawPointer?
  let status = posix_memalign(&pointer, 64, max(byteCount, 64))
  guard status == 0, let pointer else {
    throw .environment(
      EnvironmentError(
        operation: operation, code: Int(status), text: "no memory for \(byteCount) bytes",
        remedy: "Use a smaller shape, a narrower type or a larger splitSize."))
  }
  return pointer
}
