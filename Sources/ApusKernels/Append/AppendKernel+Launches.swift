public import ApusCore
public import ApusIR
internal import ApusNumerics

/// Lists of an append that are in device memory already; i32 elements.
public struct AppendDeviceLists: Sendable, Hashable {
  /// How pages are listed.
  public enum Pages: Sendable, Hashable {
    /// Addresses of `batch + 1` offsets and of page indices.
    case csr(indptr: UInt64, indices: UInt64)
    /// Address of a `[batch, pagesPerRequest]` table.
    case blockTable(blocks: UInt64, pagesPerRequest: Int)
  }

  /// Address of the request of each token, −1 to skip it.
  public var batchIndices: UInt64
  /// Address of the position of each token within its request.
  public var positions: UInt64
  /// Pages of each request.
  public var pages: Pages

  /// Lists.
  public init(batchIndices: UInt64, positions: UInt64, pages: Pages) {
    self.batchIndices = batchIndices
    self.positions = positions
    self.pages = pages
  }
}

extension AppendDeviceLists {
  /// The addresses of lists that a problem has as tensors; rows of a block table may be strided.
  public init(_ lists: AppendLists) {
    let pages: Pages =
      switch lists.pages {
      case .csr(let indptr, let indices):
        .csr(indptr: indptr.launchAddress, indices: indices.launchAddress)
      case .blockTable(let blocks):
        .blockTable(blocks: blocks.launchAddress, pagesPerRequest: blocks.strides[0])
      }
    self.init(
      batchIndices: lists.batchIndices.launchAddress, positions: lists.positions.launchAddress,
      pages: pages)
  }
}

extension AppendKernel {
  /// The configuration of a resolved append: 16-byte accesses where every row allows them, else one
  /// element at a time.
  public static func selection(
    for problem: AppendProblem, _ arguments: AppendArguments, to destinations: AppendDestinations,
    lists: Lists = .resolved, checksIndices: Bool = false
  ) -> KernelSelection<AppendKernel> {
    func kernel(width: Int) -> AppendKernel {
      AppendKernel(
        source: problem.sourceType, cache: problem.cacheType,
        keys: storing(arguments.kScale, problem),
        values: valueStoring(problem, arguments, destinations), lists: lists,
        checksIndices: checksIndices, width: width, keyDim: problem.headDimK,
        valueDim: problem.headDimV)
    }
    let wide = kernel(width: 16 / problem.sourceType.byteCount)
    var rule = AccessRule()
    for dim in [problem.headDimK, destinations.values == nil ? 0 : problem.headDimV] {
      rule.require(
        dim.isMultiple(of: wide.width), "row widths must be multiples of \(wide.width)",
        found: "\(dim)")
    }
    let bytes = min(16, wide.cacheBytes)
    rule.requireAligned("keys", arguments.keys, bytes: 16)
    rule.requireAligned("k cache", destinations.keys, bytes: bytes)
    if let values = destinations.values {
      rule.requireAligned("values", arguments.values, bytes: 16)
      rule.requireAligned("v cache", values, bytes: bytes)
    }
    guard let reason = rule.violation else { return KernelSelection(kernel: wide, rejected: []) }
    return KernelSelection(
      kernel: kernel(width: 1),
      rejected: [KernelRejection(symbol: wide.symbol, reason: reason)])
  }

  private static func storing(_ scale: AppendScale, _ problem: AppendProblem) -> Storing {
    switch scale {
    case .one: problem.sourceType == problem.cacheType ? .copy : .round
    case .tensor, .head: .divide
    case .dynamicTokenHead: .dynamic
    }
  }

  private static func valueStoring(
    _ problem: AppendProblem, _ arguments: AppendArguments, _ destinations: AppendDestinations
  ) -> Storing {
    guard destinations.values != nil else { return .absent }
    let likeKeys = problem.isLatent && arguments.vScale == .one
    let own = storing(likeKeys ? arguments.kScale : arguments.vScale, problem)
    return likeKeys && own == .dynamic ? .joint : own
  }

  /// The launches of a resolved append; none without tokens.
  ///
  /// The host's lists become one pair of page and slot per token in the plan's metadata.
  ///
  /// - Parameters:
  ///   - destinations: what `AppendProblem.resolve` returned.
  ///   - lists: the same lists in device memory, which the kernel then follows itself; nil for those
  ///     that the problem has there.
  ///   - indexRecord: address of a record of `IndexError` for lists that the problem has in device
  ///     memory; nil to trust them.
  ///   - target: the GPU; from sm_90a on, launches overlap their predecessors.
  public static func launches(
    for problem: AppendProblem, _ arguments: AppendArguments, to destinations: AppendDestinations,
    lists: AppendDeviceLists? = nil, indexRecord: UInt64? = nil, target: Target
  ) -> LaunchPlan {
    guard problem.tokenCount > 0 else { return LaunchPlan() }
    let lists = lists ?? problem.lists.map(AppendDeviceLists.init)
    let kernel = selection(
      for: problem, arguments, to: destinations, lists: lists?.kind ?? .resolved,
      checksIndices: indexRecord != nil && problem.lists != nil
    ).kernel
    var plan = LaunchPlan()
    let placed = lists == nil ? plan.place(places(problem)) : nil
    let heads = problem.kvHeadCount
    // Cells of a launch are counted, times their lanes, in 32 bits.
    let step = max(1, (1 << 31) / kernel.lanes / heads)
    for token in stride(from: 0, to: problem.tokenCount, by: step) {
      let cells = min(step, problem.tokenCount - token) * heads
      let values =
        listValues(problem, lists, placed, from: token)
        + (kernel.checksIndices
          ? checkValues(problem, destinations, indexRecord, from: token) : [])
        + kernel.rowValues(
          kernel.keys, arguments.keys, arguments.kScale, destinations.keys, problem, token)
        + kernel.rowValues(
          kernel.values, arguments.values,
          problem.isLatent && arguments.vScale == .one ? arguments.kScale : arguments.vScale,
          destinations.values, problem, token)
      plan.launches.append(
        KernelLaunch(
          kernel, grid: LaunchGrid((cells * kernel.lanes + threads - 1) / threads),
          values: values + [.u32(UInt32(heads)), .u32(UInt32(cells))],
          overlapsPredecessor: target >= .sm90a))
    }
    return plan
  }

  /// Page and slot of each token; all ones to skip it.
  private static func places(_ problem: AppendProblem) -> [UInt32] {
    var places: [UInt32] = []
    places.reserveCapacity(2 * problem.tokenCount)
    for token in 0..<problem.tokenCount {
      let target = problem.target(token)
      places.append(target.map { UInt32($0.page) } ?? .max)
      places.append(target.map { UInt32($0.slot) } ?? .max)
    }
    return places
  }

  private static func listValues(
    _ problem: AppendProblem, _ lists: AppendDeviceLists?, _ placed: LaunchValue?, from token: Int
  ) -> [LaunchValue] {
    guard let lists else {
      guard case .metadata(let offset)? = placed else { return [] }
      return [.metadata(byteOffset: offset + 8 * token)]
    }
    let common: [LaunchValue] = [
      .pointer(lists.batchIndices + UInt64(4 * token)),
      .pointer(lists.positions + UInt64(4 * token)), .u32(UInt32(problem.table.pageSize)),
    ]
    switch lists.pages {
    case .csr(let indptr, let indices): return common + [.pointer(indices), .pointer(indptr)]
    case .blockTable(let blocks, let pagesPerRequest):
      return common + [.pointer(blocks), .u32(UInt32(clamping: pagesPerRequest))]
    }
  }

  /// What `AppendIndexCheck` compares with.
  private static func checkValues(
    _ problem: AppendProblem, _ destinations: AppendDestinations, _ record: UInt64?,
    from token: Int
  ) -> [LaunchValue] {
    guard let pages = problem.lists?.pages, let record else { return [] }
    let (requests, entries): (Int, Int) =
      switch pages {
      case .csr(let indptr, let indices): (indptr.shape[0] - 1, indices.shape[0])
      case .blockTable(let blocks): (blocks.shape[0], blocks.shape[1])
      }
    let cachePages = min(
      destinations.keys.shape[0], destinations.values?.shape[0] ?? destinations.keys.shape[0])
    let counts = [requests, entries, cachePages, token]
    return counts.map { .u32(UInt32(clamping: $0)) } + [.pointer(record)]
  }

  private func rowValues(
    _ storing: Storing, _ source: TensorView, _ scale: AppendScale, _ cache: TensorView?,
    _ problem: AppendProblem, _ token: Int
  ) -> [LaunchValue] {
    guard storing != .absent, let cache else { return [] }
    let source = source.insertingMiddleHead(problem.kvHeadCount)
    let skip = token * source.strides[0] * source.scalarType.byteCount
    func paged(_ view: TensorView) -> [LaunchValue] {
      let (tokenAxis, headAxis) = problem.layout == .nhd ? (1, 2) : (2, 1)
      return [
        .pointer(view.launchAddress), view.launchStride(0), view.launchStride(tokenAxis),
        view.launchStride(headAxis),
      ]
    }
    var values: [LaunchValue] = [
      .pointer(source.launchAddress + UInt64(skip)), source.launchStride(0),
      source.launchStride(1), .u32(UInt32((source.shape.last ?? 0) / width)),
    ]
    values += paged(cache)
    switch (storing, scale) {
    case (.divide, .tensor(let value)): values += [.f32(value), .pointer(0)]
    case (.divide, .head(let view)): values += [.f32(1), .pointer(view.launchAddress)]
    case (.dynamic, .dynamicTokenHead(let view)): values += paged(view)
    default: break
    }
    return values
  }
}

extension AppendDeviceLists {
  var kind: AppendKernel.Lists {
    switch pages {
    case .csr: .csr
    case .blockTable: .blocks
    }
  }
}
