public import ApusCore
public import ApusIR
internal import ApusNumerics

/// A decode shape over several copies of its cache, so that none is found in L2: what
/// `apus bench gpu-decode` times.
///
/// Pages are shuffled; K and V are one tensor `[pages, 2, pageSize, kvHead, dim]`. The caller
/// allocates `cacheByteCount · copyCount` bytes with finite contents, q, o and lse.
public struct DecodeBenchmark: Sendable {
  /// The problem.
  public let problem: AttentionProblem
  /// Its plan.
  public let plan: DecodePlan
  /// Bytes of one copy of the cache.
  public let cacheByteCount: Int
  /// Copies to rotate over.
  public let copyCount: Int
  /// Bytes that one launch must move: the tokens' K and V, q and o.
  public let movedByteCount: Int

  /// A shape; nil if it is not supported.
  ///
  /// - Parameters:
  ///   - lengths: keys of each request.
  ///   - rotatedByteCount: bytes that all copies have at least, up to 64 copies.
  public init?(
    lengths: [Int], queryTokens: Int = 1, shape: AttentionShape, types: AttentionTypes,
    pageSize: Int, mask: AttentionMask = .none, options: ExecutionOptions = ExecutionOptions(),
    target: Target, multiprocessorCount: Int, overlapsPredecessor: Bool = true,
    rotatedByteCount: Int = 256 << 20
  ) {
    let counts = lengths.map { ($0 + pageSize - 1) / pageSize }
    let pages = counts.reduce(0, +)
    var indices = (0..<pages).map { Int32(truncatingIfNeeded: $0) }
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    for last in stride(from: pages - 1, to: 0, by: -1) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      indices.swapAt(last, Int((state >> 33) % UInt64(last + 1)))
    }
    let table = PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(lengths: counts), indices: indices,
      lastPageLength: lengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % pageSize + 1) })
    let problem = AttentionProblem(
      shape: shape, types: types,
      qoIndptr: RaggedIndptr(uniform: queryTokens, batch: lengths.count),
      geometry: .paged(table), mask: mask, options: options)
    guard
      let plan = DecodeLaunch.plan(
        problem, target: target, multiprocessorCount: multiprocessorCount,
        overlapsPredecessor: overlapsPredecessor)
    else { return nil }
    self.problem = problem
    self.plan = plan
    let token = 2 * shape.kvHeadCount * shape.headDimQK * types.kv.byteCount
    cacheByteCount = max(1, pages) * pageSize * token
    copyCount = max(1, min(64, (rotatedByteCount + cacheByteCount - 1) / cacheByteCount))
    let rows = queryTokens * lengths.count * shape.qoHeadCount
    movedByteCount =
      lengths.reduce(0, +) * token
      + rows * (shape.headDimQK * types.q.byteCount + shape.headDimVO * types.o.byteCount)
  }

  /// Elements of q, and of o.
  public var queryElementCount: Int {
    problem.qoIndptr.end * problem.shape.qoHeadCount * problem.shape.headDimQK
  }

  /// One launch for each copy, in turn; the metadata is `plan.metadata`.
  ///
  /// - Parameters:
  ///   - caches: address of all copies, one after another.
  ///   - lse: address of lse `[rows, qoHead]`, or 0 for none.
  public func launches(caches: UInt64, q: UInt64, o: UInt64, lse: UInt64 = 0) -> [KernelLaunch] {
    let shape = problem.shape
    let rows = problem.qoIndptr.end
    func view(_ address: UInt64, _ type: ScalarType, _ extents: [Int]) -> TensorView {
      TensorView(
        address: UInt(address), byteCount: extents.reduce(type.byteCount, *), scalarType: type,
        shape: extents, strides: TensorView.denseStrides(extents), memory: .cuda(device: 0))
    }
    guard case .paged(let table) = problem.geometry else { return [] }
    let token = 2 * shape.kvHeadCount * shape.headDimQK * problem.types.kv.byteCount
    let pages = cacheByteCount / (table.pageSize * token)
    return (0..<copyCount).flatMap { copy in
      let cache = view(
        caches + UInt64(copy * cacheByteCount), ScalarType(problem.types.kv),
        [pages, 2, table.pageSize, shape.kvHeadCount, shape.headDimQK])
      let arguments = AttentionArguments(
        q: .packed(
          view(q, ScalarType(problem.types.q), [rows, shape.qoHeadCount, shape.headDimQK])),
        kv: .combined(cache),
        o: view(o, ScalarType(problem.types.o), [rows, shape.qoHeadCount, shape.headDimVO]),
        lse: lse == 0 ? nil : view(lse, .f32, [rows, shape.qoHeadCount]))
      return DecodeLaunch.launches(plan, problem, arguments)
    }
  }
}
