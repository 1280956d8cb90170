internal import Apus
internal import ApusThreads

/// Objects behind numbers: a handle that was destroyed or never made is found out, never followed.
///
/// Handles count up over the life of the process and are not used twice.
final class HandleTable<Object: Sendable>: Sendable {
  private struct Entry {
    var object: Object
    /// `ForkCount` when it was made.
    var forks: Int
  }

  private struct Entries {
    var known: [UInt64: Entry] = [:]
    var next: UInt64 = 1
  }

  private let entries = Lock(Entries())
  private let kind: String
  private let survivesFork: @Sendable (Object) -> Bool

  /// A table of things called `kind` in errors.
  ///
  /// - Parameter survivesFork: whether a child process may use an object that its parent made.
  init(_ kind: String, survivesFork: @escaping @Sendable (Object) -> Bool) {
    self.kind = kind
    self.survivesFork = survivesFork
  }

  /// A handle for an object.
  func insert(_ object: Object) -> UInt64 {
    let forks = ForkCount.current
    return entries.withLock { entries in
      let handle = entries.next
      entries.next += 1
      entries.known[handle] = Entry(object: object, forks: forks)
      return handle
    }
  }

  /// The object of a handle.
  func object(_ handle: UInt64, _ operation: String) throws(ApusError) -> Object {
    guard let entry = entries.withLock({ $0.known[handle] }) else {
      throw missing(handle, operation)
    }
    try requireOwn(entry, operation)
    return entry.object
  }

  /// Ends a handle; calls that use its object at this moment go on to their end.
  func remove(_ handle: UInt64, _ operation: String) throws(ApusError) {
    // What belongs to the parent process is left alone: releasing it would call the driver.
    _ = try object(handle, operation)
    // The object may be released here, which must not happen under the lock.
    let entry = entries.withLock { $0.known.removeValue(forKey: handle) }
    if entry == nil { throw missing(handle, operation) }
  }

  /// Keeps other threads out while the process forks, so that the child finds the table whole and its
  /// lock open.
  func close() { entries.close() }

  /// Ends `close`, in the parent and in the child.
  func open() { entries.open() }

  private func missing(_ handle: UInt64, _ operation: String) -> ApusError {
    .argument(
      ArgumentError(
        operation: operation, "\(kind) must be a handle that was made and not destroyed",
        found: "\(handle)"))
  }

  private func requireOwn(_ entry: Entry, _ operation: String) throws(ApusError) {
    if entry.forks == ForkCount.current || survivesFork(entry.object) { return }
    throw .argument(
      ArgumentError(
        operation: operation, "\(kind) must be used in the process that made it",
        found: "a forked child",
        remedy: "CUDA does not survive a fork: start processes by other means (spawn)."))
  }
}

/// All handles of the process.
enum Handles {
  /// Back ends.
  static let backends = HandleTable<any Backend>("backend") { $0.memory == .host }
  /// Planned attention.
  static let plans = HandleTable<PlannedAttention>("plan") { $0.backend.memory == .host }
}

/// Before a fork; `fork.c` has it called.
@_cdecl("capus_before_fork")
func beforeFork() {
  // Also waits for another thread that makes the tables at this moment.
  Handles.backends.close()
  Handles.plans.close()
}

/// After a fork, in both processes.
@_cdecl("capus_after_fork")
func afterFork() {
  Handles.plans.open()
  Handles.backends.open()
}
