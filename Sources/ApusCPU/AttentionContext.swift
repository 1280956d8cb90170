internal import ApusCore
internal import ApusNumerics
internal import ApusPlanner
internal import CApusSIMD

/// Everything that the tiles of one run share, resolved to addresses. Read-only while tiles run.
///
/// `@unchecked Sendable`: pointers are to the caller's tensors (`TensorView`) and to the workspace;
/// tiles write disjoint rows and partials.
struct AttentionContext: @unchecked Sendable {
  /// One contiguous part of a K row: MLA's ckv and kpe are two.
  struct Segment: Sendable {
    let rows: RowAddress
    let dim: Int
    let qOffset: Int
    /// Offset of the segment's packed queries, in rows of one element each.
    let packedOffset: Int

    /// Distance of packed query rows.
    var packedStride: Int { Self.packedStride(dim) }

    static func packedStride(_ dim: Int) -> Int { (dim + 63) / 64 * 64 }
  }

  /// One contiguous part of a query row, resolved to addresses: a view is an object, and threads that
  /// copy one take turns at its count of references.
  struct QueryPart: Sendable {
    let base: Int
    let rowBytes: Int
    let headBytes: Int
    let dim: Int
    let offset: Int

    init?(_ view: TensorView, dim: Int, offset: Int) {
      guard dim > 0, let pointer = view.hostPointer else { return nil }
      base = Int(bitPattern: pointer)
      rowBytes = view.strides[0] * view.scalarType.byteCount
      headBytes = view.strides[1] * view.scalarType.byteCount
      (self.dim, self.offset) = (dim, offset)
    }
  }

  /// `log₂ e`.
  static let log2e = 1.442695040888963407359924681001892137

  let problem: AttentionProblem
  let kernels: Kernels
  /// The kernels over bfloat16 pairs where this problem uses them: nothing is lost of q and K, and P
  /// may be rounded.
  let dot: DotKernels?
  let blocking: Blocking
  let scales: HeadScales
  let keyMap: KeyMap
  let k: [Segment]
  let v: RowAddress
  let queries: [QueryPart]
  let o: TensorView
  let lse: TensorView?
  let sinks: TensorView?
  let partials: UnsafeMutablePointer<Float>?
  let partialOffsets: [Int]
  let group: Int
  let headDimQK: Int
  let headDimVO: Int

  init(
    _ problem: AttentionProblem, _ arguments: AttentionArguments, kernels: Kernels,
    schedule: AttentionSchedule, workspace: UnsafeMutablePointer<Float>?
  ) {
    self.problem = problem
    self.kernels = kernels
    scales = HeadScales(arguments.scales, problem: problem)
    dot = scales.kpe == scales.k && CPUAttention.allowsDots(problem) ? kernels.dot : nil
    blocking = Blocking(problem)
    group = problem.shape.groupSize
    headDimQK = problem.shape.headDimQK
    headDimVO = problem.shape.headDimVO
    let geometry = problem.geometry
    keyMap = KeyMap(geometry)
    let layout = problem.layout
    let heads = problem.shape.kvHeadCount
    func address(_ view: TensorView) -> RowAddress {
      RowAddress(
        geometry.insertingHead(view, layout: layout, heads: heads), geometry: geometry,
        layout: layout)
    }
    func whole(_ view: TensorView) -> [Segment] {
      [Segment(rows: address(view), dim: headDimQK, qOffset: 0, packedOffset: 0)]
    }
    let headDimQK = headDimQK
    switch arguments.kv {
    case .separate(let kView, let vView):
      k = whole(kView)
      v = address(vView)
    case .combined(let view):
      k = whole(view.selecting(0, axis: 1))
      v = address(view.selecting(1, axis: 1))
    case .latent(let ckv, let kpe):
      let width = problem.latent?.ckv ?? headDimVO
      k = [
        Segment(rows: address(ckv), dim: width, qOffset: 0, packedOffset: 0),
        Segment(
          rows: address(kpe), dim: headDimQK - width, qOffset: width,
          packedOffset: Segment.packedStride(width)),
      ].filter { $0.dim > 0 }
      v = address(ckv)
    case .packedLatent(let view):
      k = whole(view)
      v = address(view)
    }
    switch arguments.q {
    case .packed(let view):
      queries = [QueryPart(view, dim: headDimQK, offset: 0)].compactMap { $0 }
    case .split(let nope, let rope):
      let width = problem.latent?.ckv ?? headDimQK
      queries = [
        QueryPart(nope, dim: width, offset: 0),
        QueryPart(rope, dim: headDimQK - width, offset: width),
      ].compactMap { $0 }
    }
    o = arguments.o
    lse = arguments.lse
    sinks = arguments.sinks
    partials = workspace
    partialOffsets = schedule.partialOffsets
  }

  var scratchShape: ScratchShape {
    ScratchShape(blocking, headDimQK: headDimQK, headDimVO: headDimVO)
  }

  /// Query index and head of a packed row.
  @inline(__always)
  func query(_ packedRow: Int, kvHead: Int) -> (query: Int, head: Int) {
    (packedRow / group, kvHead * group + packedRow % group)
  }
}

extension CPUAttention {
  /// Whether a problem may use products of bfloat16 pairs: q and K are exact in bfloat16 and P may be
  /// rounded to it. Rotated queries and keys are neither.
  static func allowsDots(_ problem: AttentionProblem) -> Bool {
    problem.types.q == .bf16 && DotKernels.supports(problem.types.kv)
      && problem.modification.rope == nil && roundsP(problem.options.precision)
  }

  /// Whether P may be rounded to bfloat16, which moves o by at most 2⁻⁷ of `Σp|v|/Σp` and the L2 norm
  /// of o by less.
  static func roundsP(_ precision: Precision) -> Bool {
    switch precision {
    case .fast: true
    case .accurate: false
    case .automatic(let tolerance): tolerance >= 0x1p-7
    }
  }
}
