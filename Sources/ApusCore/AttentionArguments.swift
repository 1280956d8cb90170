internal import ApusNumerics

/// Queries: one tensor, or MLA's two parts.
public enum QueryOperand: Sendable, Hashable {
  /// `[rows, qoHead, headDimQK]`.
  case packed(TensorView)
  /// `[rows, qoHead, ckv]` and `[rows, qoHead, kpe]` (MLA).
  case split(nope: TensorView, rope: TensorView)
}

/// Keys and values: shapes follow the problem's geometry and layout (`KVGeometry`).
public enum KVOperand: Sendable, Hashable {
  /// Two tensors, each with its own strides.
  case separate(k: TensorView, v: TensorView)
  /// Paged only: one tensor `[pages, 2, …]`, K at 0 and V at 1.
  case combined(TensorView)
  /// MLA: ckv `[pages, pageSize, ckv]` and kpe `[pages, pageSize, kpe]` (one latent head), or with a
  /// head dimension placed by the layout. Ragged and padded geometries likewise.
  case latent(ckv: TensorView, kpe: TensorView)
  /// MLA: one tensor whose rows hold ckv then kpe.
  case packedLatent(TensorView)
}

/// Dequantisation multipliers of one call.
public struct AttentionScales: Sendable, Hashable {
  /// Scale of q, per tensor or query head.
  public var q: Scale
  /// Scale of k (of the latent row for MLA), per tensor, KV head, or token and head.
  public var k: Scale
  /// Scale of v, likewise. For MLA the values are the latent's: leave `.one`, k's scale applies.
  public var v: Scale
  /// Scale of o, per tensor or query head: o is divided by it before rounding.
  public var o: Scale
  /// MLA: scale of the kpe part when it differs from the latent's; `.one` means "as k".
  public var kpe: Scale

  /// All `.one` by default.
  public init(
    q: Scale = .one, k: Scale = .one, v: Scale = .one, o: Scale = .one, kpe: Scale = .one
  ) {
    self.q = q
    self.k = k
    self.v = v
    self.o = o
    self.kpe = kpe
  }
}

/// The tensors of one run of a plan.
public struct AttentionArguments: Sendable, Hashable {
  /// Queries.
  public var q: QueryOperand
  /// Keys and values.
  public var kv: KVOperand
  /// Output `[rows, qoHead, headDimVO]`.
  public var o: TensorView
  /// Log-sum-exp output, f32 `[rows, qoHead]` (any strides), or nil.
  public var lse: TensorView?
  /// Scales.
  public var scales: AttentionScales
  /// Attention sinks, f32 `[qoHead]`: a logit per head that joins the denominator once, after
  /// merging, and is never part of lse. nil is off.
  public var sinks: TensorView?

  /// Arguments with separate K and V.
  public init(
    q: QueryOperand, kv: KVOperand, o: TensorView, lse: TensorView? = nil,
    scales: AttentionScales = AttentionScales(), sinks: TensorView? = nil
  ) {
    self.q = q
    self.kv = kv
    self.o = o
    self.lse = lse
    self.scales = scales
    self.sinks = sinks
  }
}

extension AttentionArguments {
  /// Checks every tensor against a validated problem.
  ///
  /// - Parameter memory: the space all tensors must live in.
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public func validate(
    for problem: AttentionProblem, memory: MemorySpace, operation: String
  ) throws(ArgumentError) {
    var validator = Validator(operation)
    let shape = problem.shape
    let rows = problem.qoIndptr.end
    let tensors = namedTensors
    for (name, view) in tensors {
      validator.require(
        view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
    }
    validator.requireQueries(q, problem: problem)
    validator.requireKV(kv, scales: scales, problem: problem)
    // A view may hold more rows than the batch uses.
    validator.require(
      (o.shape.first ?? 0) >= rows, "o must hold the rows of qoIndptr",
      found: "\(o.shape.first ?? 0) of \(rows)")
    validator.requireTensor(
      "o", o, [ScalarType(problem.types.o)], shape: [nil, shape.qoHeadCount, shape.headDimVO],
      isOutput: true)
    if let lse {
      validator.require(
        (lse.shape.first ?? 0) >= rows, "lse must hold the rows of qoIndptr",
        found: "\(lse.shape.first ?? 0) of \(rows)")
      validator.requireTensor(
        "lse", lse, [.f32], shape: [nil, shape.qoHeadCount], isOutput: true,
        innermostContiguous: false)
    }
    if let sinks {
      validator.requireTensor("sinks", sinks, [.f32], shape: [shape.qoHeadCount])
    }
    validator.requireScale("qScale", scales.q, headCount: shape.qoHeadCount, tokenShape: nil)
    validator.requireScale("oScale", scales.o, headCount: shape.qoHeadCount, tokenShape: nil)
    try validator.finish()
  }

  /// Every tensor with its name, for checks that treat all alike.
  public var namedTensors: [(name: String, view: TensorView)] {
    var result: [(name: String, view: TensorView)] = []
    switch q {
    case .packed(let view): result.append(("q", view))
    case .split(let nope, let rope): result += [("qNope", nope), ("qRope", rope)]
    }
    switch kv {
    case .separate(let k, let v): result += [("k", k), ("v", v)]
    case .combined(let view): result.append(("kv", view))
    case .latent(let ckv, let kpe): result += [("ckv", ckv), ("kpe", kpe)]
    case .packedLatent(let view): result.append(("latent", view))
    }
    result.append(("o", o))
    if let lse { result.append(("lse", lse)) }
    if let sinks { result.append(("sinks", sinks)) }
    let named = [
      ("qScale", scales.q), ("kScale", scales.k), ("vScale", scales.v), ("oScale", scales.o),
      ("kpeScale", scales.kpe),
    ]
    for (name, scale) in named {
      switch scale {
      case .head(let view), .tokenHead(let view): result.append((name, view))
      case .one, .tensor: break
      }
    }
    return result
  }
}

extension Validator {
  fileprivate mutating func requireQueries(_ q: QueryOperand, problem: AttentionProblem) {
    let type = [ScalarType(problem.types.q)]
    let heads = problem.shape.qoHeadCount
    func check(_ name: String, _ view: TensorView, _ dim: Int) {
      require(
        (view.shape.first ?? 0) >= problem.qoIndptr.end, "\(name) must hold the rows of qoIndptr",
        found: "\(view.shape.first ?? 0) of \(problem.qoIndptr.end)")
      requireTensor(name, view, type, shape: [nil, heads, dim])
    }
    switch q {
    case .packed(let view):
      check("q", view, problem.shape.headDimQK)
    case .split(let nope, let rope):
      guard
        let latent = requireLatent(problem, "q in two parts")
      else { return }
      check("qNope", nope, latent.ckv)
      check("qRope", rope, latent.kpe)
    }
  }

  private mutating func requireLatent(_ problem: AttentionProblem, _ what: String) -> LatentShape? {
    require(
      problem.latent != nil, "\(what) must belong to an MLA problem",
      found: "a problem without a latent")
    return problem.latent
  }

  fileprivate mutating func requireKV(
    _ kv: KVOperand, scales: AttentionScales, problem: AttentionProblem
  ) {
    let shape = problem.shape
    let types = [ScalarType(problem.types.kv)]
    let outer = problem.geometry.outerShape(layout: problem.layout, heads: shape.kvHeadCount)
    // One walk over the page lists serves every tensor of the call.
    let reach = problem.geometry.reach
    switch kv {
    case .separate(let k, let v):
      require(
        problem.latent == nil, "an MLA problem must have a latent operand", found: "k and v")
      requireTensor("k", k, types, shape: outer + [shape.headDimQK])
      requireTensor("v", v, types, shape: outer + [shape.headDimVO])
      requireCapacity("k", k, problem, reach)
      requireCapacity("v", v, problem, reach)
    case .combined(let view):
      require(
        problem.latent == nil, "an MLA problem must have a latent operand", found: "combined kv")
      guard case .paged = problem.geometry else {
        require(false, "combined kv must belong to a paged geometry", found: "\(problem.geometry)")
        return
      }
      require(
        shape.headDimQK == shape.headDimVO, "combined kv must have headDimQK equal to headDimVO",
        found: "\(shape.headDimQK) and \(shape.headDimVO)")
      requireTensor(
        "kv", view, types, shape: [nil, 2] + outer.dropFirst() + [shape.headDimQK])
      requireCapacity("kv", view, problem, reach)
    case .latent(let ckv, let kpe):
      guard let latent = requireLatent(problem, "a latent operand") else { return }
      requireLatentTensor("ckv", ckv, latent.ckv, problem, reach)
      requireLatentTensor("kpe", kpe, latent.kpe, problem, reach)
    case .packedLatent(let view):
      guard let latent = requireLatent(problem, "a latent operand") else { return }
      requireLatentTensor("latent", view, latent.ckv + latent.kpe, problem, reach)
    }
    requireScale("kScale", scales.k, headCount: shape.kvHeadCount, tokenShape: outer)
    if case .tokenHead(let view) = scales.k { requireCapacity("kScale", view, problem, reach) }
    if problem.latent == nil {
      requireScale("vScale", scales.v, headCount: shape.kvHeadCount, tokenShape: outer)
      if case .tokenHead(let view) = scales.v { requireCapacity("vScale", view, problem, reach) }
      require(
        scales.kpe == .one, "kpeScale must be one outside MLA", found: "\(scales.kpe)")
    } else {
      require(
        scales.v == .one, "vScale must be one for MLA", found: "\(scales.v)",
        remedy: "The latent's scale is kScale; it applies to K and V.")
      if case .tokenHead = scales.k {
        require(
          scales.kpe == .one, "kpeScale must be one beside a token-head kScale",
          found: "\(scales.kpe)")
      }
      requireScale("kpeScale", scales.kpe, headCount: shape.kvHeadCount, tokenShape: nil)
    }
  }

  /// A latent tensor may leave out the head dimension when there is one latent head.
  private mutating func requireLatentTensor(
    _ name: String, _ view: TensorView, _ width: Int, _ problem: AttentionProblem, _ reach: Int
  ) {
    let heads = problem.shape.kvHeadCount
    let outer = problem.geometry.outerShape(layout: problem.layout, heads: heads)
    let expanded = problem.geometry.insertingHead(view, layout: problem.layout, heads: heads)
    requireTensor(name, expanded, [ScalarType(problem.types.kv)], shape: outer + [width])
    requireCapacity(name, expanded, problem, reach)
  }

  /// The cache must be as large as the geometry's lists reach (`KVGeometry.reach`).
  private mutating func requireCapacity(
    _ name: String, _ view: TensorView, _ problem: AttentionProblem, _ reach: Int
  ) {
    switch problem.geometry {
    case .paged:
      let pages = Swift.max(view.shape.first ?? 0, 0)
      require(
        reach <= pages, "page indices must be below the page count of \(name)",
        found: "index \(reach - 1) of \(pages) pages")
    case .ragged:
      let axis = problem.layout == .nhd ? 0 : 1
      let tokens = axis < view.shape.count ? view.shape[axis] : 0
      require(
        reach <= tokens, "kvIndptr must end within the tokens of \(name)",
        found: "\(reach) of \(tokens)")
    case .padded: break
    }
  }
}

extension KVGeometry {
  /// Pages, or tokens of ragged rows, that a tensor must have for the lists of a validated geometry.
  fileprivate var reach: Int {
    switch self {
    case .ragged(let indptr): indptr.end
    case .padded(let maxLength, _): maxLength
    case .paged(let table): table.greatestPage + 1
    }
  }

  /// Extents of a K, V or scale tensor before its last dimension; nil entries are free.
  public func outerShape(layout: KVLayout, heads: Int) -> [Int?] {
    switch self {
    case .ragged: layout.ordered(tokens: nil, heads: heads)
    case .padded(let maxLength, let lengths):
      [lengths.count] + layout.ordered(tokens: maxLength, heads: heads)
    case .paged(let table):
      [nil] + layout.ordered(tokens: table.pageSize, heads: heads)
    }
  }

  /// A latent tensor with its head dimension made explicit when it was left out (one head).
  public func insertingHead(_ view: TensorView, layout: KVLayout, heads: Int) -> TensorView {
    let rank = outerShape(layout: layout, heads: heads).count + 1
    guard heads == 1, view.shape.count == rank - 1, view.strides.count == rank - 1, rank >= 3 else {
      return view
    }
    let axis = layout == .nhd ? rank - 2 : rank - 3
    var shape = view.shape
    var strides = view.strides
    shape.insert(1, at: axis)
    strides.insert(0, at: axis)
    return TensorView(
      address: view.address, byteCount: view.byteCount, scalarType: view.scalarType, shape: shape,
      strides: strides, memory: view.memory)
  }
}
