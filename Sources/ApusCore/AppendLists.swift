public import ApusNumerics

/// The lists of an append as i32 tensors in the memory of the back end.
///
/// A GPU follows them itself, in stream order: nothing is copied, allocated or waited for, a captured
/// append reads at each replay what they hold then, and their values are not checked. Types, shapes and
/// memory are. The caller ensures that
/// - each request is −1 or below the number of rows of `pages`,
/// - each position that is written has a page of the cache; on a GPU −1 for a page skips the token,
/// - no slot is written twice.
///
/// Otherwise memory beside the cache may be overwritten, unless the back end was asked to check
/// (`CUDAOptions.checksIndices`): then such a token is left out, and the call throws
/// `ApusError.index`. The CPU reads and checks them as it does
/// lists of Swift; a page table without lengths is taken to end with full pages.
public struct AppendLists: Sendable, Hashable {
  /// How the pages of each request are listed.
  public enum Pages: Sendable, Hashable {
    /// Compressed rows: offsets `[batch + 1]`, and the pages that they count `[at least the last]`.
    case csr(indptr: TensorView, indices: TensorView)
    /// A table `[batch, pagesPerRequest]`, whose rows may be strided.
    case blockTable(TensorView)
  }

  /// Tokens per page.
  public var pageSize: Int
  /// Pages of each request after the append.
  public var pages: Pages
  /// Request of each new token `[tokens]`, −1 to skip it.
  public var batchIndices: TensorView
  /// Position of each new token within its request `[tokens]`; a negative one skips it on a GPU.
  public var positions: TensorView

  /// Lists.
  public init(
    pageSize: Int, pages: Pages, batchIndices: TensorView, positions: TensorView
  ) {
    self.pageSize = pageSize
    self.pages = pages
    self.batchIndices = batchIndices
    self.positions = positions
  }

  /// Every tensor with its name in errors.
  public var namedTensors: [(name: String, view: TensorView)] {
    let tables: [(String, TensorView)] =
      switch pages {
      case .csr(let indptr, let indices): [("pageIndptr", indptr), ("pageIndices", indices)]
      case .blockTable(let blocks): [("blockTable", blocks)]
      }
    return [("batchIndices", batchIndices), ("positions", positions)] + tables
  }

  /// Checks types, shapes and memory; not what the lists hold.
  func check(_ memory: MemorySpace, _ validator: inout Validator) {
    let tokens = batchIndices.shape.first ?? 0
    validator.require(pageSize >= 1, "pageSize must be at least 1", found: "\(pageSize)")
    validator.require(
      pageSize <= Int(Int32.max), "pageSize must fit 31 bits", found: "\(pageSize)")
    for (name, view) in namedTensors {
      let shape: [Int?] =
        switch name {
        case "batchIndices", "positions": [tokens]
        case "blockTable": [nil, nil]
        default: [nil]
        }
      validator.requireTensor(name, view, [.i32], shape: shape)
      validator.require(
        view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
    }
    switch pages {
    case .csr(let indptr, _):
      validator.require(
        (indptr.shape.first ?? 0) >= 1, "pageIndptr must hold batch + 1 offsets",
        found: "\(indptr.shape)")
    case .blockTable(let blocks):
      validator.require(
        (blocks.strides.first ?? 0) <= Int(Int32.max), "rows of blockTable must be within 31 bits",
        found: "a stride of \(blocks.strides.first ?? 0)")
    }
  }
}

extension AppendProblem {
  /// K/V append by lists in the memory of the back end.
  public init(
    kvHeadCount: Int, headDimK: Int, headDimV: Int? = nil, sourceType: ElementType,
    cacheType: ElementType, layout: KVLayout = .nhd, lists: AppendLists
  ) {
    self.init(
      kvHeadCount: kvHeadCount, headDimK: headDimK, headDimV: headDimV, sourceType: sourceType,
      cacheType: cacheType, layout: layout, table: Self.noPages(lists.pageSize), batchIndices: [],
      positions: [])
    self.lists = lists
  }

  /// MLA append by lists in the memory of the back end.
  public init(
    latent: LatentShape, latentHeadCount: Int = 1, sourceType: ElementType,
    cacheType: ElementType, layout: KVLayout = .nhd, lists: AppendLists
  ) {
    self.init(
      latent: latent, latentHeadCount: latentHeadCount, sourceType: sourceType,
      cacheType: cacheType, layout: layout, table: Self.noPages(lists.pageSize), batchIndices: [],
      positions: [])
    self.lists = lists
  }

  private static func noPages(_ pageSize: Int) -> PageTable {
    PageTable(pageSize: pageSize, indptr: RaggedIndptr([0]), indices: [], lastPageLength: [])
  }

  /// The same problem with lists of Swift, where its lists are tensors in host memory.
  ///
  /// - Throws: `ArgumentError` for tensors that are malformed or elsewhere.
  public func readingLists(operation: String) throws(ArgumentError) -> AppendProblem {
    guard let lists else { return self }
    var validator = Validator(operation)
    lists.check(.host, &validator)
    for (name, view) in lists.namedTensors { validator.requireReadable(name, view) }
    try validator.finish()
    var result = self
    result.lists = nil
    result.batchIndices = lists.batchIndices.hostIntegers().map { Int32(truncatingIfNeeded: $0) }
    result.positions = lists.positions.hostIntegers().map { Int32(truncatingIfNeeded: $0) }
    switch lists.pages {
    case .csr(let indptr, let indices):
      let offsets = indptr.hostIntegers()
      result.table = PageTable(
        pageSize: lists.pageSize, indptr: RaggedIndptr(offsets),
        indices: indices.hostIntegers().map { Int32(truncatingIfNeeded: $0) },
        lastPageLength: [Int32](
          repeating: Int32(truncatingIfNeeded: lists.pageSize), count: offsets.count - 1))
    case .blockTable(let blocks):
      // What a row uses is not known: from its end, entries of −1 are none.
      let entries = blocks.hostIntegers().map { Int32(truncatingIfNeeded: $0) }
      let width = blocks.shape[1]
      result.table = PageTable(
        pageSize: lists.pageSize, blocks: entries, pagesPerRequest: width,
        lengths: (0..<blocks.shape[0]).map { row in
          let used = entries[row * width..<(row + 1) * width].lastIndex { $0 >= 0 }
          return used.map { ($0 - row * width + 1) * lists.pageSize } ?? 0
        })
    }
    return result
  }
}

extension Validator {
  /// Refuses lists that nobody means to have read: a shape that was never set.
  mutating func requireReadable(_ name: String, _ view: TensorView) {
    let limit = 1 << 26
    let count = view.shape.reduce(1) {
      $0.multipliedReportingOverflow(by: $1).overflow ? .max : $0 * $1
    }
    require(count <= limit, "\(name) must hold at most \(limit) integers", found: "\(view.shape)")
  }
}

extension TensorView {
  /// The integers of a validated i32 or i64 tensor of one or two dimensions in host memory.
  func hostIntegers() -> [Int] {
    guard let base = UnsafeRawPointer(bitPattern: address), !shape.contains(0) else { return [] }
    let width = shape.last ?? 1
    let rows = shape.count == 2 ? shape[0] : 1
    let rowStride = shape.count == 2 ? strides[0] : 0
    var result: [Int] = []
    result.reserveCapacity(rows * width)
    for row in 0..<rows {
      for column in 0..<width {
        let offset = (row * rowStride + column) * scalarType.byteCount
        result.append(
          scalarType == .i64
            ? Int(base.loadUnaligned(fromByteOffset: offset, as: Int64.self))
            : Int(base.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
      }
    }
    return result
  }
}
