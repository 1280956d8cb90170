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
  }

  /// `log₂ e`.
  static let log2e = 1.442695040888963407359924681001892137
  /// Keys that one step of the online softmax takes when rows are few and nothing is widened: the
  /// longer the block, the less the work around the micro-kernels weighs.
  static let blockKeys = 256
  /// Keys of one step when K and V pass through widened panels, which should stay in the L2 cache.
  static let panelKeys = 64
  /// Packed rows from which widened panels and the matrix kernel beat row-wise dot products.
  static let panelRows = 12

  let problem: AttentionProblem
  let kernels: Kernels
  let scales: HeadScales
  let k: [Segment]
  let v: RowAddress
  let queries: [(view: TensorView, dim: Int, offset: Int)]
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
    group = problem.shape.groupSize
    headDimQK = problem.shape.headDimQK
    headDimVO = problem.shape.headDimVO
    let geometry = problem.geometry
    let layout = problem.layout
    let heads = problem.shape.kvHeadCount
    func address(_ view: TensorView) -> RowAddress {
      RowAddress(
        geometry.insertingHead(view, layout: layout, heads: heads), geometry: geometry,
        layout: layout)
    }
    switch arguments.kv {
    case .separate(let kView, let vView):
      k = [Segment(rows: address(kView), dim: headDimQK, qOffset: 0)]
      v = address(vView)
    case .combined(let view):
      k = [Segment(rows: address(view.selecting(0, axis: 1)), dim: headDimQK, qOffset: 0)]
      v = address(view.selecting(1, axis: 1))
    case .latent(let ckv, let kpe):
      let width = problem.latent?.ckv ?? headDimVO
      k = [
        Segment(rows: address(ckv), dim: width, qOffset: 0),
        Segment(rows: address(kpe), dim: headDimQK - width, qOffset: width),
      ].filter { $0.dim > 0 }
      v = address(ckv)
    case .packedLatent(let view):
      k = [Segment(rows: address(view), dim: headDimQK, qOffset: 0)]
      v = address(view)
    }
    switch arguments.q {
    case .packed(let view): queries = [(view, headDimQK, 0)]
    case .split(let nope, let rope):
      let width = problem.latent?.ckv ?? headDimQK
      queries = [(nope, width, 0), (rope, headDimQK - width, width)]
    }
    o = arguments.o
    lse = arguments.lse
    sinks = arguments.sinks
    partials = workspace
    partialOffsets = schedule.partialOffsets
  }

  var scratchShape: ScratchShape {
    ScratchShape(
      rows: CPUAttention.tiling.tileRows, keys: Self.blockKeys, panelKeys: Self.panelKeys,
      headDimQK: headDimQK, headDimVO: headDimVO)
  }

  /// Keys of one step of the online softmax for a tile of `rows` packed rows.
  @inline(__always)
  func stepKeys(rows: Int) -> Int {
    rows >= Self.panelRows || problem.modification.rope != nil ? Self.panelKeys : Self.blockKeys
  }

  /// Query index and head of a packed row.
  @inline(__always)
  func query(_ packedRow: Int, kvHead: Int) -> (query: Int, head: Int) {
    (packedRow / group, kvHead * group + packedRow % group)
  }
}
