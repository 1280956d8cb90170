#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// A system mutex around one value.
///
/// Unlike the standard library's `Mutex`, whose futex is invisible to them, thread sanitizers see the
/// order that it makes: a race that they report is one.
///
/// `@unchecked Sendable`: `value` is touched only while the mutex is held, and only by bodies that
/// cannot let a part of it escape (`sending`, as `Mutex` has it).
public final class Lock<Value>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let value: UnsafeMutablePointer<Value>

  /// An open lock around a value.
  public init(_ value: consuming sending Value) {
    self.value = .allocate(capacity: 1)
    self.value.initialize(to: value)
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    value.deinitialize(count: 1)
    value.deallocate()
  }

  /// Calls `body` with the value while no other thread does, and returns what it returns.
  ///
  /// - Throws: what `body` throws; the value then is as `body` left it.
  public func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout sending Value) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&value.pointee)
  }

  /// Waits for the lock and keeps it until `open`, which the same thread must call: for handlers
  /// around a fork, so that no other thread holds it at that instant. The child's copy of the thread
  /// opens its copy of the lock.
  public func close() { pthread_mutex_lock(mutex) }

  /// Opens what `close` closed.
  public func open() { pthread_mutex_unlock(mutex) }
}
