public import ApusNumerics

/// Storage types of the operands; every combination is valid.
public struct AttentionTypes: Sendable, Hashable, CustomStringConvertible {
  /// Type of q.
  public var q: ElementType
  /// Type of k and v.
  public var kv: ElementType
  /// Type of o.
  public var o: ElementType

  /// Types; `kv` and `o` default to that of q.
  public init(q: ElementType, kv: ElementType? = nil, o: ElementType? = nil) {
    self.q = q
    self.kv = kv ?? q
    self.o = o ?? q
  }

  /// `q bf16, kv e4m3, o bf16`.
  public var description: String { "q \(q), kv \(kv), o \(o)" }
}

/// How exact the arithmetic must be.
public enum Precision: Sendable, Hashable, CustomStringConvertible {
  /// P may be rounded to 16 bits and tensor cores may be used; the default.
  case fast
  /// f32-grade products and sums.
  case accurate
  /// The fastest path whose documented bound on the relative L2 error meets the tolerance.
  case automatic(tolerance: Double)

  /// The case's name.
  public var description: String {
    switch self {
    case .fast: "fast"
    case .accurate: "accurate"
    case .automatic(let tolerance): "automatic(\(tolerance))"
    }
  }
}

/// Whether attention of few query rows may use tensor cores.
///
/// They round P to 16 bits and need 16-bit queries; ordinary cores multiply and add in f32.
/// `apus bench tensor-cores` prints time, resources and error of both.
public enum TensorCoreUse: String, Sendable, Hashable, CaseIterable {
  /// Whichever is faster by measurement, among those that meet the precision; the default.
  case automatic
  /// Ordinary cores: every product and sum in f32.
  case never
  /// Tensor cores; a problem that they cannot compute is computed by the general kernels.
  case always
}

/// How an operator may be executed; none of it changes what is computed beyond rounding.
public struct ExecutionOptions: Sendable, Hashable, CustomStringConvertible {
  /// Required accuracy.
  public var precision: Precision
  /// Keys per split of a long context; nil lets the planner choose.
  public var splitSize: Int?
  /// Refuses splitting altogether; `splitSize` is then ignored.
  public var disablesSplitKV: Bool
  /// Fixes splits and tiles so that a request's bits do not depend on its neighbours. On a GPU the most
  /// query tokens of any request still decide whether kernels for decode or for prefill run: keep both
  /// kinds of requests in batches of their own.
  public var isBatchInvariant: Bool
  /// Which arithmetic GPU decode uses; other operators and back ends ignore it.
  public var useTensorCores: TensorCoreUse

  /// Defaults: fast, planner's choice.
  public init(
    precision: Precision = .fast, splitSize: Int? = nil, disablesSplitKV: Bool = false,
    isBatchInvariant: Bool = false, useTensorCores: TensorCoreUse = .automatic
  ) {
    self.precision = precision
    self.splitSize = splitSize
    self.disablesSplitKV = disablesSplitKV
    self.isBatchInvariant = isBatchInvariant
    self.useTensorCores = useTensorCores
  }

  /// One line with what is not a default.
  public var description: String {
    var parts = [precision.description]
    if let splitSize { parts.append("split \(splitSize)") }
    if disablesSplitKV { parts.append("unsplit") }
    if isBatchInvariant { parts.append("batch-invariant") }
    if useTensorCores != .automatic { parts.append("tensor cores \(useTensorCores)") }
    return parts.joined(separator: ", ")
  }
}

/// Everything that a plan depends on: one attention computation over a batch, without its tensors.
///
/// For request `r`, query `i`, query head `h` and KV head `g = h / groupSize`:
/// `o[i, h] = Σ_j softmax_j(score(i, j)) · v[j, g]` over the visible keys `j`, and
/// `lse[i, h] = log Σ_j exp(score(i, j))`. An empty row gives o = 0.
/// Single and batch, decode and prefill, ragged, padded and paged, MHA to MLA are all this.
public struct AttentionProblem: Sendable, Hashable {
  /// Heads and dimensions.
  public var shape: AttentionShape
  /// Storage types.
  public var types: AttentionTypes
  /// Query rows of each request in q `[rows, qoHead, headDimQK]`.
  public var qoIndptr: RaggedIndptr
  /// Keys and values of each request.
  public var geometry: KVGeometry
  /// Token/head order of K and V.
  public var layout: KVLayout
  /// Widths of the latent row for MLA, nil for separate K and V.
  public var latent: LatentShape?
  /// Visibility.
  public var mask: AttentionMask
  /// Score function.
  public var modification: ScoreModification
  /// How lse is written.
  public var lseConvention: LSEConvention
  /// Execution choices.
  public var options: ExecutionOptions

  /// A problem; only shape, types, queries and keys have no default.
  public init(
    shape: AttentionShape, types: AttentionTypes, qoIndptr: RaggedIndptr, geometry: KVGeometry,
    layout: KVLayout = .nhd, latent: LatentShape? = nil, mask: AttentionMask = .none,
    modification: ScoreModification = ScoreModification(),
    lseConvention: LSEConvention = .base2, options: ExecutionOptions = ExecutionOptions()
  ) {
    self.shape = shape
    self.types = types
    self.qoIndptr = qoIndptr
    self.geometry = geometry
    self.layout = layout
    self.latent = latent
    self.mask = mask
    self.modification = modification
    self.lseConvention = lseConvention
    self.options = options
  }

  /// Number of requests.
  public var batch: Int { qoIndptr.batch }
  /// Query rows of request `r`.
  public func qoLength(_ r: Int) -> Int { qoIndptr.length(r) }
  /// Keys of request `r`.
  public func kvLength(_ r: Int) -> Int { geometry.length(r) }
  /// Factor on q·k.
  public var softmaxScale: Float { modification.resolvedScale(headDimQK: shape.headDimQK) }

  /// Checks everything that does not need tensors.
  ///
  /// - Throws: `ArgumentError` with every violation.
  public func validate(operation: String) throws(ArgumentError) {
    var validator = Validator(operation)
    validator.requireShape(shape, latent: latent)
    let queries = validator.requireIndptr("qoIndptr", qoIndptr)
    let keys = validator.requireGeometry(geometry)
    if queries && keys {
      let matches = validator.require(
        qoIndptr.batch == geometry.batch, "queries and KV must have the same batch",
        found: "\(qoIndptr.batch) and \(geometry.batch)")
      if matches, let custom = mask.custom {
        validator.requireCustomMask(
          custom, qoLengths: (0..<batch).map(qoLength), kvLengths: (0..<batch).map(kvLength))
      }
    }
    if let windowLeft = mask.windowLeft {
      validator.require(
        windowLeft >= 0, "windowLeft must be at least 0", found: "\(windowLeft)",
        remedy: "Pass nil for no window.")
    }
    validator.requireModification(modification, shape: shape, latent: latent)
    if let splitSize = options.splitSize {
      validator.require(splitSize >= 1, "splitSize must be at least 1", found: "\(splitSize)")
    }
    if case .automatic(let tolerance) = options.precision {
      validator.require(
        tolerance.isFinite && tolerance > 0, "tolerance must be finite and positive",
        found: "\(tolerance)")
    }
    try validator.finish()
  }
}

extension AttentionProblem: CustomStringConvertible {
  /// One line.
  public var description: String {
    let kind = latent.map { ", \($0)" } ?? ""
    return
      "attention(\(shape)\(kind), \(types), rows \(qoIndptr.end), \(geometry) \(layout), "
      + "mask \(mask), \(modification), lse \(lseConvention), \(options))"
  }
}
