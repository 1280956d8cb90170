#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The last writer of each byte of a range of global memory, for bytes that the launch wrote.
///
/// Kept in pages that the first write makes: inputs cost one pointer for each page. Readers are not
/// recorded; a write that overtakes a read is seen as a read of the new bytes under another seed.
struct GlobalStamps {
  static let pageBits = 12
  static let pageByteCount = 1 << pageBits

  /// Stamps and clusters of the bytes of a page.
  struct Page {
    let stamps: UnsafeMutablePointer<UInt64>
    let clusters: UnsafeMutablePointer<UInt32>
  }

  private let pages: UnsafeMutablePointer<UnsafeMutablePointer<UInt64>?>
  private let count: Int

  init(byteCount: Int) {
    count = byteCount >> Self.pageBits + 1
    pages = .allocate(capacity: count)
    pages.initialize(repeating: nil, count: count)
  }

  func deallocate() {
    for index in 0..<count { free(pages[index]) }
    pages.deallocate()
  }

  @inline(__always)
  private func page(_ stamps: UnsafeMutablePointer<UInt64>) -> Page {
    Page(
      stamps: stamps,
      clusters: UnsafeMutableRawPointer(stamps + Self.pageByteCount)
        .assumingMemoryBound(to: UInt32.self))
  }

  /// Whether a page of the range was written.
  @inline(__always)
  func isTouched(_ start: Int, _ byteCount: Int) -> Bool {
    for index in start >> Self.pageBits...(start + byteCount - 1) >> Self.pageBits
    where pages[index] != nil { return true }
    return false
  }

  /// Calls `body` with the parts of a range that lie in written pages: page, first byte in it,
  /// offset in the range, bytes; until it returns false.
  func forEachPart(_ start: Int, _ byteCount: Int, _ body: (Page, Int, Int, Int) -> Bool) {
    var offset = 0
    while offset < byteCount {
      let low = (start + offset) & (Self.pageByteCount - 1)
      let part = min(Self.pageByteCount - low, byteCount - offset)
      if let stamps = pages[(start + offset) >> Self.pageBits],
        !body(page(stamps), low, offset, part)
      {
        return
      }
      offset += part
    }
  }

  /// The page of a short range, made if need be, and its first byte there; nil if it spans two.
  @inline(__always)
  func madePage(_ start: Int, _ byteCount: Int) -> (page: Page, low: Int)? {
    let low = start & (Self.pageByteCount - 1)
    guard low + byteCount <= Self.pageByteCount else { return nil }
    let index = start >> Self.pageBits
    if pages[index] == nil { make(index) }
    return pages[index].map { (page($0), low) }
  }

  /// Makes the pages of a range.
  @inline(__always)
  func touch(_ start: Int, _ byteCount: Int) {
    for index in start >> Self.pageBits...(start + byteCount - 1) >> Self.pageBits
    where pages[index] == nil { make(index) }
  }

  private func make(_ index: Int) {
    let words = Self.pageByteCount + Self.pageByteCount / 2
    pages[index] = calloc(words, 8)?.bindMemory(to: UInt64.self, capacity: words)
  }
}
