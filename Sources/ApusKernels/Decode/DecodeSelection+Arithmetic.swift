internal import ApusCore
internal import ApusNumerics

/// Where ordinary cores are as fast as tensor cores or faster: rows of the table that `.automatic`
/// reads. `apus bench tensor-cores` prints what it is made from.
struct DecodeArithmeticRule: Sendable, Hashable {
  /// Bytes of an element of K and V.
  var cacheByteCount: Int
  /// Query rows of a KV head: query tokens × group.
  var rows: ClosedRange<Int>
  /// Head dimensions.
  var headDims: ClosedRange<Int>
}

extension DecodeSelection {
  /// Problems that both paths do and that ordinary cores do faster. Wider rows of f32 have no other
  /// path and are not listed. Empty: no measurement has ordinary cores ahead.
  static let coreRules: [DecodeArithmeticRule] = []

  /// Why tensor cores do not do a problem, as `requirement; found value`; nil if they do.
  static func tensorCoreRefusal(_ problem: AttentionProblem) -> String? {
    let types = problem.types
    if ![.f16, .bf16, .e4m3, .e5m2].contains(types.kv) {
      return "tensor cores need 16- or 8-bit K and V; found \(types.kv)"
    }
    if !(types.q == .bf16 || types.q == .f16 && types.kv != .bf16) {
      return "tensor cores need q in bf16, or in f16 beside caches other than bf16; found \(types)"
    }
    if problem.shape.headDimQK > 256 {
      return "tensor cores need headDimQK up to 256; found \(problem.shape.headDimQK)"
    }
    return allows(problem.options.precision)
      ? nil : "tensor cores need precision fast; found \(problem.options.precision)"
  }

  /// P and q are rounded to at most 11 bits, results within a relative L2 error of 4·10⁻³.
  private static func allows(_ precision: Precision) -> Bool {
    switch precision {
    case .fast: true
    case .accurate: false
    case .automatic(let tolerance): tolerance >= 4e-3
    }
  }

  /// Whether rows of a tile see different keys in ways that models have beside real values: a NaN of a
  /// value that one row sees must not reach the others, and products of tiles add 0 · NaN. Ordinary
  /// cores keep pairs apart; plain causal masks of common dimensions stay with the faster path.
  private static func hidesByPair(_ problem: AttentionProblem) -> Bool {
    problem.mask.custom != nil || problem.modification.alibiSlopes != nil
      || problem.shape.headDimQK % 32 != 0
  }

  /// What multiplies: what the options demand, else what can, else what the table prefers.
  static func arithmetic(_ problem: AttentionProblem) -> DecodeArithmetic {
    let queries = (0..<problem.batch).map { problem.qoLength($0) }.max() ?? 1
    let rows = max(1, queries * problem.shape.groupSize)
    // What registers hold without spills, on the path of sm_80 too.
    let dim = problem.shape.headDimQK
    let isWide = problem.types.kv == .f32
    let hasPairs = problem.mask.custom != nil || problem.modification.alibiSlopes != nil
    let most =
      dim > 256 || dim > 128 && isWide || dim > 64 && hasPairs
      ? 2 : dim > 128 || isWide || hasPairs ? 4 : 8
    let cores = DecodeArithmetic.cores(rows: min(most, powerOfTwo(atMost: 2 * rows - 1)))
    if tensorCoreRefusal(problem) != nil { return cores }
    switch problem.options.useTensorCores {
    case .always: return .tensorCores
    case .never: return cores
    case .automatic:
      if queries > 1, hidesByPair(problem) { return cores }
      let prefersCores = coreRules.contains {
        $0.cacheByteCount == problem.types.kv.byteCount && $0.rows.contains(rows)
          && $0.headDims.contains(dim)
      }
      return prefersCores ? cores : .tensorCores
    }
  }
}
