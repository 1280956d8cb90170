internal import ApusThreads

/// Values that are expensive to make, one per key and context: compiled kernels.
///
/// Safe to use from many threads. Each value is made at most once; the lock of the table is not held
/// while one is made, so different keys are made at the same time and a thread waits only for the
/// key it needs. A failure is thrown to the thread that met it and not kept: the next call tries
/// again. Entries keep their values, and so their modules and contexts, until `removeAll`.
public final class ModuleCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private struct Slot: Hashable {
    var key: Key
    var context: UInt
  }

  private final class Entry: Sendable {
    let context: Context
    let value = Lock<Value?>(nil)

    /// The context is kept, so that its handle cannot come to mean another one.
    init(context: Context) { self.context = context }
  }

  private let entries = Lock<[Slot: Entry]>([:])

  /// An empty cache.
  public init() {}

  /// Number of values that exist or are being made.
  public var count: Int { entries.withLock { $0.count } }

  /// The value of `key` in `context`, made by `make` if there is none yet.
  ///
  /// - Important: `make` must not ask for the same key: it would wait for itself.
  public func value<Failure: Error>(
    for key: Key, in context: Context, make: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let entry = entries.withLock { entries in
      let slot = Slot(key: key, context: context.handle)
      if let entry = entries[slot] { return entry }
      let entry = Entry(context: context)
      entries[slot] = entry
      return entry
    }
    return try entry.value.withLock { (value) throws(Failure) -> Value in
      if let value { return value }
      let made = try make()
      value = made
      return made
    }
  }

  /// Makes the values of many keys at once on up to `threadCount` threads, the caller's among them.
  ///
  /// - Returns: the keys that failed with their errors, in the order of `keys`.
  public func warmUp<Failure: Error>(
    _ keys: [Key], in context: Context, threadCount: Int,
    make: @Sendable (Key) throws(Failure) -> Value
  ) -> [(key: Key, error: Failure)] {
    let failures = Lock<[Int: Failure]>([:])
    withThreads(min(threadCount, keys.count), indices: keys.count) { index in
      do throws(Failure) {
        _ = try value(for: keys[index], in: context) { () throws(Failure) -> Value in
          try make(keys[index])
        }
      } catch {
        failures.withLock { $0[index] = error }
      }
    }
    return failures.withLock { failures in
      failures.sorted { $0.key < $1.key }.map { (keys[$0.key], $0.value) }
    }
  }

  /// Drops all values. Those in use stay alive with their users.
  public func removeAll() { entries.withLock { $0 = [:] } }
}
