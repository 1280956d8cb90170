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

  /// Query rows of a KV head that tiles are made for: query tokens × group. Tiles decide in what
  /// order numbers are added, so those of batch-invariant plans are for one token, whatever
  /// neighbours have; more rows are more items.
  static func tiledRows(_ problem: AttentionProblem) -> Int {
    let queries = problem.options.isBatchInvariant ? 1 : problem.qoIndptr.lengths.max() ?? 1
    return queries * problem.shape.groupSize
  }

  /// What multiplies: what the options demand, else what can, else what the table prefers.
  static func arithmetic(_ problem: AttentionProblem) -> DecodeArithmetic {
    let rows = max(1, tiledRows(problem))
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
      let prefersCores = coreRules.contains {
        $0.cacheByteCount == problem.types.kv.byteCount && $0.rows.contains(rows)
          && $0.headDims.contains(dim)
      }
      return prefersCores ? cores : .tensorCores
    }
  }
}
