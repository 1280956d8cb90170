#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Replacing a file as a whole or not at all.
enum AtomicFile {
  /// Makes the file at `path` consist of `chunks`, in order.
  ///
  /// The bytes go to a new file in the same folder, which is flushed to the device and then
  /// renamed over `path`. Whatever fails before the rename, and a crash at any time, leaves an
  /// earlier file at `path` as it was. The new file takes over the permission bits of the one it
  /// replaces. A symbolic link at `path` is replaced itself; the file it leads to is not touched.
  static func replace(path: String, with chunks: [[UInt8]]) throws(FileError.Reason) {
    guard !path.utf8.contains(0) else { throw .pathContainsNUL }
    let (folder, temporary) = neighbours(of: path)
    let descriptor = try openFile(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode: 0o666)
    do throws(FileError.Reason) {
      try fill(descriptor, with: chunks, permissionsOf: path)
    } catch {
      close(descriptor)
      unlink(temporary)
      throw error
    }
    // After fsync a failing close loses nothing, except on file systems that report here.
    guard close(descriptor) == 0 || errno == EINTR else {
      throw abandon(temporary, call: "close", code: errno)
    }
    guard rename(temporary, path) == 0 else {
      throw abandon(temporary, call: "rename", code: errno)
    }
    try flushFolder(folder)
  }

  /// The folder that holds `path`, and a path in it that no other writer has.
  private static func neighbours(of path: String) -> (folder: String, temporary: String) {
    let suffix = String(UInt64.random(in: .min ... .max), radix: 16)
    let name = ".apus-\(suffix).tmp"
    guard let slash = path.lastIndex(of: "/") else { return (".", name) }
    let prefix = path[...slash]
    return (String(prefix), prefix + name)
  }

  private static func fill(
    _ descriptor: CInt, with chunks: [[UInt8]], permissionsOf path: String
  ) throws(FileError.Reason) {
    var replaced = stat()
    if stat(path, &replaced) == 0, replaced.st_mode & S_IFMT == S_IFREG {
      guard fchmod(descriptor, replaced.st_mode & 0o777) == 0 else {
        throw .system(call: "fchmod", code: errno)
      }
    }
    for chunk in chunks {
      var written = 0
      while written < chunk.count {
        let count = chunk.withUnsafeBytes { bytes in
          let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
          return write(descriptor, rest.baseAddress, min(rest.count, 1 << 30))
        }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw .system(call: "write", code: count < 0 ? errno : EIO) }
        written += count
      }
    }
    guard fsync(descriptor) == 0 else { throw .system(call: "fsync", code: errno) }
  }

  private static func abandon(
    _ temporary: String, call: String, code: CInt
  ) -> FileError.Reason {
    unlink(temporary)
    return .system(call: call, code: code)
  }

  /// Makes the rename durable. File systems that cannot flush a folder answer EINVAL; there the
  /// rename is as durable as they make it.
  private static func flushFolder(_ folder: String) throws(FileError.Reason) {
    let descriptor = try openFile(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw .system(call: "fsync", code: errno)
    }
  }
}
