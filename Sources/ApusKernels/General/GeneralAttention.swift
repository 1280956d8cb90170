public import ApusCore
public import ApusIR
internal import ApusNumerics

/// The plan of one attention problem on the general kernels: work items and lists, made once; and
/// the launches for the tensors of each run.
///
/// Packed rows (query, then head of the group) are cut into tiles, the keys that a tile can see into
/// splits whose size depends on the request's rows alone, so that a request's bits do not depend on
/// its neighbours. A tile with one split is finished at once, the others by a second launch.
public struct GeneralAttention: Sendable {
  /// The problem.
  public let problem: AttentionProblem
  /// The GPU.
  public let target: Target
  /// Lists that every run reads; see `LaunchPlan`.
  public let metadata: [UInt8]
  /// Bytes for partial states.
  public let workspaceByteCount: Int

  /// Packed rows of a tile.
  let rows: Int
  let itemCount: Int
  let mergeCount: Int
  private let itemList: LaunchValue
  private let requestList: LaunchValue
  private let mergeList: LaunchValue
  private let pageList: LaunchValue
  private let maskList: LaunchValue
  private let slopeList: LaunchValue
  private let fractionList: LaunchValue
  private let slotCount: Int

  static let log2e = 1.442695040888963407359924681001892137
  static let ln2 = 0.693147180559945309417232121458176568
  /// Where a launch's arguments say which rows of a tile it takes.
  private static let rowOffsetPlace = 6
  /// Keys of a split of a request with few rows.
  static let leastSplit = 256

  /// Plans a validated problem.
  ///
  /// - Precondition: `refusal(of:)` is nil.
  public init(_ problem: AttentionProblem, target: Target) {
    self.init(problem, target: target, rows: Self.tileRows(problem))
  }

  /// Plans a validated problem with a number of packed rows of a tile.
  init(_ problem: AttentionProblem, target: Target, rows: Int) {
    self.problem = problem
    self.target = target
    self.rows = rows
    let shape = problem.shape
    let group = shape.groupSize
    var lists = LaunchPlan()
    var items: [UInt32] = []
    var merges: [UInt32] = []
    var slots = 0
    for request in 0..<problem.batch {
      let packed = problem.qoLength(request) * group
      let split = Self.splitSize(problem, request)
      for first in stride(from: 0, to: packed, by: rows) {
        let count = min(rows, packed - first)
        let queries = first / group..<(first + count - 1) / group + 1
        let keys = problem.mask.keyRange(
          queries: queries, qoLength: problem.qoLength(request),
          kvLength: problem.kvLength(request))
        let begins = Self.splitBegins(keys, split)
        let isMerged = begins.count > 1
        if isMerged {
          merges += [
            UInt32(slots), UInt32(begins.count), UInt32(first), UInt32(request), UInt32(count), 0,
            0, 0,
          ]
        }
        for (index, begin) in begins.enumerated() {
          let end = index + 1 < begins.count ? begins[index + 1] : keys.upperBound
          items += [
            UInt32(request), UInt32(first), UInt32(count), UInt32(begin), UInt32(end),
            isMerged ? UInt32(slots + index) : .max, 0, 0,
          ]
        }
        if isMerged { slots += begins.count }
      }
    }
    itemCount = items.count / 8
    mergeCount = merges.count / 8
    slotCount = slots
    itemList = lists.place(items)
    mergeList = lists.place(merges)
    requestList = lists.place(Self.requests(problem))
    pageList = lists.place(Self.pages(problem))
    maskList = lists.place(problem.mask.custom?.bytes ?? [])
    slopeList = lists.place(
      (problem.modification.alibiSlopes ?? []).map { Float(Double($0) * Self.log2e) })
    let rotated = problem.modification.rope.map { $0.rotaryDim ?? shape.headDimQK } ?? 0
    fractionList = lists.place(
      (0..<rotated / 2).map { pair in
        problem.modification.rope.map {
          TurnFraction.fraction($0.frequency(pair, dim: rotated))
        } ?? 0
      })
    metadata = lists.metadata
    workspaceByteCount = 4 * slots * shape.kvHeadCount * rows * (shape.headDimVO + 2) + 16
  }

  /// Packed rows of a tile that suit a problem.
  private static func tileRows(_ problem: AttentionProblem) -> Int {
    let shape = problem.shape
    let longest = (0..<problem.batch).reduce(0) {
      max($0, problem.qoLength($1) * shape.groupSize)
    }
    // Wide rows leave registers for fewer of them; so does everything that a score needs beside its
    // product.
    let isPlain = problem.modification.isPlain && problem.mask.custom == nil
    let isWide = max(shape.headDimQK, shape.headDimVO) > 256
    let isCheap = unevenWidth(problem) == nil && problem.types.kv.byteCount <= 2
    let limit = isWide ? (isCheap && isPlain ? 4 : 2) : isPlain ? 8 : 4
    // Rows decide how many keys are taken in at once, and so how weights are rounded: neighbours with
    // more of them must not.
    if problem.options.isBatchInvariant { return min(4, limit) }
    // One row, few or many: a tile's rows that do not exist cost time, each size costs a kernel.
    return longest <= 1 ? 1 : longest <= 4 ? min(4, limit) : limit
  }

  /// Why a validated problem is too large for the lists of a plan; nil for all others.
  public static func refusal(of problem: AttentionProblem) -> String? {
    WorkListLimit.refusal(problem, rows: 1, heads: 1, leastSplit: leastSplit)
      .map { "general: \($0)" }
  }

  /// Keys of a split: more for requests with many rows, which have work enough without splits and
  /// would leave many partial states.
  private static func splitSize(_ problem: AttentionProblem, _ request: Int) -> Int {
    if problem.options.disablesSplitKV { return Int.max }
    if let size = problem.options.splitSize { return size }
    let rows = problem.qoLength(request) * problem.shape.qoHeadCount
    return leastSplit * max(1, (rows + 63) / 64)
  }

  /// Where the splits of a range begin, at multiples of the size; an empty range has one.
  private static func splitBegins(_ keys: Range<Int>, _ size: Int) -> [Int] {
    guard !keys.isEmpty else { return [keys.lowerBound] }
    var begins = [keys.lowerBound]
    while let last = begins.last, keys.upperBound - last / size * size > size {
      begins.append((last / size + 1) * size)
    }
    return begins
  }

  /// 12 words a request, as `GeneralRequest` reads them.
  private static func requests(_ problem: AttentionProblem) -> [UInt32] {
    var words: [UInt32] = []
    for r in 0..<problem.batch {
      var firstToken = 0
      var outer = 0
      var firstPage = 0
      switch problem.geometry {
      case .ragged(let indptr): firstToken = indptr.offsets[r]
      case .padded: outer = r
      case .paged(let table):
        switch table.form {
        case .csr(let indptr, _, _): firstPage = indptr.offsets[r]
        case .blockTable(_, let width, _): firstPage = r * width
        }
      }
      let mask = problem.mask.custom.map { $0.byteIndptr.offsets[r] } ?? 0
      words += [problem.qoIndptr.offsets[r], problem.qoLength(r), problem.kvLength(r), firstToken]
        .map { UInt32(clamping: $0) }
      words += [UInt32(clamping: outer), 0] + halves(firstPage) + halves(mask) + [0, 0]
    }
    return words
  }

  private static func halves(_ value: Int) -> [UInt32] {
    [UInt32(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value >> 32)]
  }

  private static func pages(_ problem: AttentionProblem) -> [Int32] {
    guard case .paged(let table) = problem.geometry else { return [] }
    switch table.form {
    case .csr(_, let indices, _): return indices
    case .blockTable(let blocks, _, _): return blocks
    }
  }
}

extension GeneralAttention {
  /// The configurations of runs with aligned rows and without scales per token: what compilation
  /// ahead of the first run prepares.
  public var kernels: [any ShippedKernel] {
    let first: any ShippedKernel = kernel(
      width: Self.unevenWidth(problem) == nil ? 8 : 1, hasTokenScales: false)
    return mergeCount == 0 ? [first] : [first, mergeKernel]
  }

  /// The first width of a row, of a part of one or of what is rotated that is no multiple of 8.
  private static func unevenWidth(_ problem: AttentionProblem) -> Int? {
    let shape = problem.shape
    var widths = [shape.headDimQK, shape.headDimVO, problem.latent?.ckv ?? 0]
    if let rope = problem.modification.rope {
      let dim = rope.rotaryDim ?? shape.headDimQK
      widths.append(rope.pairing == .half ? dim / 2 : dim)
    }
    return widths.first { !$0.isMultiple(of: 8) }
  }

  private var mergeKernel: GeneralMergeKernel {
    GeneralMergeKernel(output: problem.types.o, headDimVO: problem.shape.headDimVO)
  }

  private func kernel(
    width: Int, hasTokenScales: Bool
  ) -> GeneralAttentionKernel {
    var features: GeneralAttentionKernel.Features = []
    if problem.latent != nil { features.insert(.latent) }
    let modification = problem.modification
    if hasTokenScales || problem.mask.custom != nil || modification.activeSoftCap != nil
      || modification.alibiSlopes != nil
    {
      features.insert(.options)
    }
    if modification.rope != nil { features.insert(.rope) }
    // Wide rows of one element an access leave registers for two: tiles are done in two launches.
    let isWide = max(problem.shape.headDimQK, problem.shape.headDimVO) > 256
    return GeneralAttentionKernel(
      types: problem.types, features: features, width: width,
      rows: width == 1 && isWide ? min(rows, 2) : rows,
      headDimQK: problem.shape.headDimQK, headDimVO: problem.shape.headDimVO)
  }

  /// The configuration for validated tensors: accesses of eight elements where every row allows
  /// them, else one element at a time.
  public func selection(
    for arguments: AttentionArguments
  ) -> KernelSelection<GeneralAttentionKernel> {
    let tensors = GeneralTensors(problem, arguments)
    let hasTokenScales = tensors.hasTokenScales
    let wide = kernel(width: 8, hasTokenScales: hasTokenScales)
    var rule = AccessRule()
    let uneven = Self.unevenWidth(problem)
    rule.require(
      uneven == nil, "row widths and rotated parts must be multiples of 8",
      found: "\(uneven ?? 0)")
    for (name, view) in tensors.rowTensors {
      rule.requireAligned(name, view, bytes: min(16, 8 * view.scalarType.byteCount))
    }
    guard let reason = rule.violation else { return KernelSelection(kernel: wide, rejected: []) }
    return KernelSelection(
      kernel: kernel(width: 1, hasTokenScales: hasTokenScales),
      rejected: [KernelRejection(symbol: wide.symbol, reason: reason)])
  }

  /// The launches of one run with validated tensors.
  public func launches(for arguments: AttentionArguments) -> [KernelLaunch] {
    guard itemCount > 0 else { return [] }
    let kernel = selection(for: arguments).kernel
    let tensors = GeneralTensors(problem, arguments)
    let shape = problem.shape
    let warps = GeneralAttentionKernel.threads / warpSize
    let finish = tensors.finish(
      partialO: .workspace(byteOffset: 0),
      partialStates: .workspace(
        byteOffset: (4 * slotCount * shape.kvHeadCount * rows * shape.headDimVO + 15) / 16 * 16))
    let scale = Double(problem.softmaxScale)
    let cap = problem.modification.activeSoftCap.map(Double.init)
    var launches: [KernelLaunch] = []
    // Warps of a launch are counted in 32 bits.
    let step = max(1, (1 << 31) / shape.kvHeadCount)
    for first in stride(from: 0, to: itemCount, by: step) {
      let cells = min(step, itemCount - first) * shape.kvHeadCount
      var values: [LaunchValue] = [
        itemList.advanced(byBytes: 32 * first), requestList, .u32(UInt32(cells)),
        .u32(UInt32(shape.kvHeadCount)), .u32(UInt32(shape.groupSize)), .u32(UInt32(rows)),
        .u32(0), .u32(UInt32(GeneralStorage.code(problem.types.q))),
      ]
      values += tensors.operands
      let accesses = tensors.keyWidths.map { $0 / kernel.width }
      values += [
        .u32(UInt32(accesses[0])), .u32(UInt32(accesses.reduce(0, +))),
        .u32(UInt32(shape.headDimVO / kernel.width)),
      ]
      if case .paged(let table) = problem.geometry {
        values += [pageList, .u32(UInt32(table.pageSize))]
      } else {
        values += [.pointer(0), .u32(1)]
      }
      let window = problem.mask.windowLeft.map { Int32(clamping: $0) } ?? .max
      values += [.u32(problem.mask.isCausal ? 1 : 0), .s32(window)]
      values += tensors.scales
      values.append(.f32(Float(cap.map { scale / $0 } ?? scale * Self.log2e)))
      if kernel.features.contains(.options) {
        let none = LaunchValue.pointer(0)
        values += [
          .f32(Float((cap ?? 0) * Self.log2e)),
          problem.modification.alibiSlopes == nil ? none : slopeList,
          problem.mask.custom == nil ? none : maskList,
          .u32(problem.mask.custom?.bitOrder == .big ? 7 : 0),
        ]
        values += tensors.tokenScales
      }
      if let rope = problem.modification.rope {
        let dim = rope.rotaryDim ?? shape.headDimQK
        values += [
          fractionList, .u32(UInt32(dim / kernel.width)), .u32(rope.pairing == .half ? 1 : 0),
        ]
      }
      values += finish
      for offset in stride(from: 0, to: rows, by: kernel.rows) {
        values[Self.rowOffsetPlace] = .u32(UInt32(offset))
        launches.append(
          KernelLaunch(
            kernel, grid: LaunchGrid((cells + warps - 1) / warps), values: values,
            overlapsPredecessor: target >= .sm90a))
      }
    }
    let mergeStep = max(1, (1 << 31) / (shape.kvHeadCount * rows))
    for first in stride(from: 0, to: mergeCount, by: mergeStep) {
      let cells = min(mergeStep, mergeCount - first) * shape.kvHeadCount * rows
      launches.append(
        KernelLaunch(
          mergeKernel, grid: LaunchGrid((cells + warps - 1) / warps),
          values: [
            mergeList.advanced(byBytes: 32 * first), requestList, .u32(UInt32(cells)),
            .u32(UInt32(shape.kvHeadCount)), .u32(UInt32(shape.groupSize)), .u32(UInt32(rows)),
          ] + finish, overlapsPredecessor: target >= .sm90a))
    }
    return launches
  }
}

extension ScoreModification {
  /// Whether scores are products times a factor.
  fileprivate var isPlain: Bool { activeSoftCap == nil && alibiSlopes == nil && rope == nil }
}
