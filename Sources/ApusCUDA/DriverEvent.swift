/// Something worth knowing that is no failure of the call at hand.
///
/// This layer knows no logging package: whoever loads the driver passes an observer, which may be
/// called from any thread and must not call back into the object that reports.
public enum DriverEvent: Sendable, Hashable {
  /// Giving back a handle or restoring the current context failed. Nothing is retried: the driver
  /// frees all that a process holds when it ends.
  case releaseFailed(CUDAError)
  /// A module was loaded: its name, the compiler's findings and the time it took.
  case moduleLoaded(name: String, log: JITLog, nanoseconds: UInt64)
  /// The compiler spilled registers or serialised matrix instructions: correct but slow.
  case slowCode(name: String, log: JITLog)
}
