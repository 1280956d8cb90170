/// How a file's bytes are brought into memory.
public enum FileAccess: Sendable, Hashable {
  /// Map the file read-only: opening reads the header alone, data arrives page by page on first
  /// use, and processes share the pages.
  ///
  /// - Important: another program that truncates a mapped file makes the next access to the lost
  ///   pages end the process with SIGBUS, and one that writes to it changes the tensors. No check
  ///   here can prevent either; use ``copied`` for files that others may modify in place.
  case mapped
  /// Read the whole file into memory once. Later changes to the file have no effect.
  case copied
}
