#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The bytes of an opened file: a read-only mapping or an owned copy, released with the last
/// reference.
///
/// `@unchecked Sendable`: `base` points to memory that nobody writes between `init` and `deinit`.
final class FileStorage: @unchecked Sendable {
  private let base: UnsafeRawPointer?
  let byteCount: Int
  private let isMapped: Bool

  /// All bytes. Valid only while this object lives, hence the closure.
  func withBytes<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { extendLifetime(self) }
    return try body(UnsafeRawBufferPointer(start: base, count: byteCount))
  }

  init(path: String, access: FileAccess) throws(FileError.Reason) {
    // O_NONBLOCK so that a pipe without a writer is refused below instead of blocking here; it
    // has no effect on regular files.
    let descriptor = try openFile(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(call: "fstat", code: errno) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notRegularFile }
    byteCount = Int(status.st_size)
    isMapped = access == .mapped
    guard byteCount > 0 else {
      base = nil
      return
    }
    switch access {
    case .mapped:
      let address = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
      guard let address, address != MAP_FAILED else { throw .system(call: "mmap", code: errno) }
      base = UnsafeRawPointer(address)
    case .copied:
      base = UnsafeRawPointer(try Self.copy(descriptor, byteCount: byteCount))
    }
  }

  deinit {
    guard let base else { return }
    let address = UnsafeMutableRawPointer(mutating: base)
    if isMapped {
      munmap(address, byteCount)
    } else {
      free(address)
    }
  }

  private static func copy(
    _ descriptor: CInt, byteCount: Int
  ) throws(FileError.Reason) -> UnsafeMutableRawPointer {
    // 64 bytes: a cache line, and the widest vector of the CPU kernels. malloc's family reports
    // exhaustion, where Swift's allocator would stop the process.
    var memory: UnsafeMutableRawPointer?
    let code = posix_memalign(&memory, 64, byteCount)
    guard code == 0, let memory else { throw .system(call: "posix_memalign", code: code) }
    var filled = 0
    while filled < byteCount {
      let count = read(descriptor, memory + filled, min(byteCount - filled, 1 << 30))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let code = errno
        free(memory)
        throw count < 0
          ? .system(call: "read", code: code)
          : .fileTooShort(byteCount: filled, minimum: byteCount)
      }
      filled += count
    }
    return memory
  }
}

/// Opens `path`, retrying after signals. The corresponding C function is `open`.
func openFile(_ path: String, _ flags: CInt, mode: mode_t = 0) throws(FileError.Reason) -> CInt {
  guard !path.utf8.contains(0) else { throw .pathContainsNUL }
  while true {
    let descriptor = open(path, flags, mode)
    if descriptor >= 0 { return descriptor }
    guard errno == EINTR else { throw .system(call: "open", code: errno) }
  }
}
