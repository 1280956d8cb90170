/// Which pages of a cache hold the tokens of each request, in order.
///
/// Token `t` of request `r` lives in slot `t % pageSize` of page `page(r, t / pageSize)`.
/// Pages may be shared between requests and may appear in any order.
///
/// - Precondition: of `length`, `pageCount`, `page`, `greatestPage` and `compressed`: the lists pass
///   `Validator.requirePageTable`. Initialisers, `batch` and `description` take any.
public struct PageTable: Sendable, Hashable {
  /// How the lists are stored.
  public enum Form: Sendable, Hashable {
    /// Compressed rows, FlashInfer's form: request `r` owns
    /// `indices[indptr[r] ..< indptr[r + 1]]`; its last page holds `lastPageLength[r]` tokens.
    /// A request without pages has length 0 whatever its `lastPageLength` is.
    case csr(indptr: RaggedIndptr, indices: [Int32], lastPageLength: [Int32])
    /// Dense block table, FlashMLA's and vLLM's form: row `r` of `[batch, pagesPerRequest]` lists
    /// the pages of request `r`, of which the first `⌈lengths[r] / pageSize⌉` are used; entries
    /// behind them are ignored and may be −1.
    case blockTable(blocks: [Int32], pagesPerRequest: Int, lengths: [Int])
  }

  /// Tokens per page, at least 1.
  public let pageSize: Int
  /// The lists.
  public let form: Form

  /// A table in either form; `Validator.requirePageTable` checks it.
  public init(pageSize: Int, form: Form) {
    self.pageSize = pageSize
    self.form = form
  }

  /// A table in compressed-row form.
  public init(
    pageSize: Int, indptr: RaggedIndptr, indices: [Int32], lastPageLength: [Int32]
  ) {
    self.init(
      pageSize: pageSize,
      form: .csr(indptr: indptr, indices: indices, lastPageLength: lastPageLength))
  }

  /// A table in dense block form.
  public init(pageSize: Int, blocks: [Int32], pagesPerRequest: Int, lengths: [Int]) {
    self.init(
      pageSize: pageSize,
      form: .blockTable(blocks: blocks, pagesPerRequest: pagesPerRequest, lengths: lengths))
  }

  /// Number of requests.
  public var batch: Int {
    switch form {
    case .csr(let indptr, _, _): indptr.batch
    case .blockTable(_, _, let lengths): lengths.count
    }
  }

  /// Tokens of request `r`: `(pages − 1) · pageSize + lastPageLength`, or the given length.
  public func length(_ r: Int) -> Int {
    switch form {
    case .csr(let indptr, _, let lastPageLength):
      let pages = indptr.length(r)
      return pages == 0 ? 0 : (pages - 1) * pageSize + Int(lastPageLength[r])
    case .blockTable(_, _, let lengths):
      return lengths[r]
    }
  }

  /// Pages that hold tokens of request `r`.
  public func pageCount(_ r: Int) -> Int {
    switch form {
    case .csr(let indptr, _, _): indptr.length(r)
    case .blockTable(_, _, let lengths):
      lengths[r] / pageSize + (lengths[r] % pageSize == 0 ? 0 : 1)
    }
  }

  /// Tokens of each request: `length` of all, without taking the form apart for each.
  public var lengths: [Int] {
    switch form {
    case .blockTable(_, _, let lengths): return lengths
    case .csr(let indptr, _, let lastPageLength):
      let offsets = indptr.offsets
      return (0..<indptr.batch).map { r in
        let pages = offsets[r + 1] - offsets[r]
        return pages == 0 ? 0 : (pages - 1) * pageSize + Int(lastPageLength[r])
      }
    }
  }

  /// Pages that hold tokens, of all requests together.
  public var usedPageCount: Int {
    switch form {
    case .csr(let indptr, _, _): return indptr.end - (indptr.offsets.first ?? 0)
    case .blockTable(_, _, let lengths):
      return lengths.reduce(0) { $0 + ($1 + pageSize - 1) / pageSize }
    }
  }

  /// Cache page that holds the `index`-th page of request `r`.
  public func page(_ r: Int, _ index: Int) -> Int {
    switch form {
    case .csr(let indptr, let indices, _): Int(indices[indptr.offsets[r] + index])
    case .blockTable(let blocks, let pagesPerRequest, _): Int(blocks[r * pagesPerRequest + index])
    }
  }

  /// Cache pages that hold tokens of request `r`, in order.
  func usedPages(_ r: Int) -> ArraySlice<Int32> {
    switch form {
    case .csr(let indptr, let indices, _):
      return indices[indptr.rows(r)]
    case .blockTable(let blocks, let pagesPerRequest, _):
      let first = r * pagesPerRequest
      return blocks[first..<first + pageCount(r)]
    }
  }

  /// Calls `body` with the pages in use, in order, in runs as long as the form allows, until it
  /// returns false.
  public func forEachUsedRun(_ body: (UnsafeBufferPointer<Int32>) -> Bool) {
    switch form {
    case .csr(let indptr, let indices, _):
      guard let first = indptr.offsets.first, first < indptr.end else { return }
      indices.withUnsafeBufferPointer { all in
        _ = body(UnsafeBufferPointer(rebasing: all[first..<indptr.end]))
      }
    case .blockTable(let blocks, let width, let lengths):
      blocks.withUnsafeBufferPointer { all in
        for (r, length) in lengths.enumerated() where length > 0 {
          let first = r * width
          let pages = (length - 1) / pageSize + 1
          if !body(UnsafeBufferPointer(rebasing: all[first..<first + pages])) { return }
        }
      }
    }
  }

  /// Largest page index in use; −1 when no request has tokens. A cache needs one page more.
  public var greatestPage: Int {
    var greatest: Int32 = -1
    forEachUsedRun { run in
      // A loop of maxima alone, so that it is compiled to vectors.
      for page in run { greatest = Swift.max(greatest, page) }
      return true
    }
    return Int(greatest)
  }

  /// The same pages in compressed-row form.
  public var compressed: PageTable {
    guard case .blockTable = form else { return self }
    var indices: [Int32] = []
    var last: [Int32] = []
    var offsets = [0]
    for r in 0..<batch {
      let pages = pageCount(r)
      for index in 0..<pages { indices.append(Int32(truncatingIfNeeded: page(r, index))) }
      offsets.append(indices.count)
      last.append(
        pages == 0 ? 0 : Int32(truncatingIfNeeded: length(r) - (pages - 1) * pageSize))
    }
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(offsets), indices: indices, lastPageLength: last)
  }
}

extension PageTable: CustomStringConvertible {
  /// One line with page size, batch and form.
  public var description: String {
    switch form {
    case .csr(_, let indices, _):
      "pages(size \(pageSize), batch \(batch), \(indices.count) indices)"
    case .blockTable(_, let width, _):
      "pages(size \(pageSize), batch \(batch), block table width \(width))"
    }
  }
}

extension Validator {
  /// Checks every list of a page table; page indices must be at least 0 where they are used.
  @discardableResult
  public mutating func requirePageTable(_ table: PageTable) -> Bool {
    let before = violations.count
    guard
      require(table.pageSize >= 1, "pageSize must be at least 1", found: "\(table.pageSize)"),
      require(
        table.pageSize <= Int(Int32.max), "pageSize must fit 31 bits", found: "\(table.pageSize)")
    else { return false }
    switch table.form {
    case .csr(let indptr, let indices, let lastPageLength):
      checkCompressed(table.pageSize, indptr, indices, lastPageLength)
    case .blockTable(let blocks, let width, let lengths):
      checkBlocks(table.pageSize, blocks, width, lengths)
    }
    guard violations.count == before else { return false }
    // The sign of all of them together: page lists are most of a plan, and are read at its speed.
    var signs: Int32 = 0
    table.forEachUsedRun { run in
      for page in run { signs |= page }
      return signs >= 0
    }
    if signs >= 0 { return true }
    for r in 0..<table.batch {
      let pages = table.usedPages(r)
      if let index = pages.firstIndex(where: { $0 < 0 }) {
        return require(
          false, "page indices in use must be at least 0",
          found: "\(pages[index]) at request \(r), page \(index - pages.startIndex)")
      }
    }
    return true
  }

  private mutating func checkCompressed(
    _ pageSize: Int, _ indptr: RaggedIndptr, _ indices: [Int32], _ lastPageLength: [Int32]
  ) {
    guard requireIndptr("pageIndptr", indptr) else { return }
    require(
      indptr.end <= indices.count, "pageIndptr must end within pageIndices",
      found: "\(indptr.end) of \(indices.count)")
    guard
      require(
        lastPageLength.count == indptr.batch, "lastPageLength must hold one value per request",
        found: "\(lastPageLength.count) for batch \(indptr.batch)")
    else { return }
    for r in 0..<indptr.batch where indptr.length(r) > 0 {
      let last = Int(lastPageLength[r])
      guard
        require(
          (1...pageSize).contains(last), "lastPageLength must be in 1…\(pageSize) (pageSize)",
          found: "\(last) at request \(r)",
          remedy: "A request without tokens has no pages at all.")
      else { return }
      // Page count, page size and the last page fit 31 bits each, so the sum fits 63.
      let tokens = (indptr.length(r) - 1) * pageSize + last
      guard
        require(
          tokens <= Int(Int32.max), "a request must hold at most \(Int32.max) tokens",
          found: "\(indptr.length(r)) pages of \(pageSize) at request \(r)")
      else { return }
    }
  }

  private mutating func checkBlocks(
    _ pageSize: Int, _ blocks: [Int32], _ width: Int, _ lengths: [Int]
  ) {
    guard
      require(width >= 0, "pagesPerRequest must be at least 0", found: "\(width)")
    else { return }
    let (count, overflow) = width.multipliedReportingOverflow(by: lengths.count)
    require(
      !overflow && count == blocks.count,
      "the block table must hold batch × pagesPerRequest entries",
      found: "\(blocks.count) for \(lengths.count) × \(width)")
    let (capacity, overflow2) = width.multipliedReportingOverflow(by: pageSize)
    let limit = overflow2 ? Int(Int32.max) : Swift.min(capacity, Int(Int32.max))
    for (r, length) in lengths.enumerated() where !(0...limit).contains(length) {
      require(
        false, "kv lengths must be in 0…\(limit) (pagesPerRequest × pageSize)",
        found: "\(length) at request \(r)", remedy: "Widen the block table.")
      return
    }
  }
}
