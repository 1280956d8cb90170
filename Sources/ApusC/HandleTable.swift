internal import Apus
internal import ApusThreads

/// Objects behind numbers: a handle that was destroyed or never made is found out, never followed.
///
/// Handles count up over the life of the process and are not used twice.
final class HandleTable<Object: Sendable>: Sendable {
  private struct Entries {
    var objects: [UInt64: Object] = [:]
    var next: UInt64 = 1
  }

  private let entries = Lock(Entries())
  private let kind: String

  /// A table of things called `kind` in errors.
  init(_ kind: String) { self.kind = kind }

  /// A handle for an object.
  func insert(_ object: Object) -> UInt64 {
    entries.withLock { entries in
      let handle = entries.next
      entries.next += 1
      entries.objects[handle] = object
      return handle
    }
  }

  /// The object of a handle.
  func object(_ handle: UInt64, _ operation: String) throws(ApusError) -> Object {
    guard let object = entries.withLock({ $0.objects[handle] }) else {
      throw missing(handle, operation)
    }
    return object
  }

  /// Ends a handle; calls that use its object at this moment go on to their end.
  func remove(_ handle: UInt64, _ operation: String) throws(ApusError) {
    // The object may be released here, which must not happen under the lock.
    let object = entries.withLock { $0.objects.removeValue(forKey: handle) }
    if object == nil { throw missing(handle, operation) }
  }

  private func missing(_ handle: UInt64, _ operation: String) -> ApusError {
    .argument(
      ArgumentError(
        operation: operation, "\(kind) must be a handle that was made and not destroyed",
        found: "\(handle)"))
  }
}

/// All handles of the process.
enum Handles {
  /// Back ends.
  static let backends = HandleTable<any Backend>("backend")
  /// Planned attention.
  static let plans = HandleTable<PlannedAttention>("plan")
}
