internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Forks between the first use of this count and the calling process.
///
/// What belongs to threads (pools, contexts of CUDA, locks that one may hold) stays with the process
/// that made it: remember the count then, and compare.
public enum ForkCount {
  /// The count of this process; reading it takes no lock.
  public static var current: Int {
    _ = isWatching
    return count.load(ordering: .relaxed)
  }

  private static let count = Atomic(0)
  private static let isWatching: Bool =
    pthread_atfork(nil, nil) { ForkCount.count.wrappingAdd(1, ordering: .relaxed) } == 0
}
