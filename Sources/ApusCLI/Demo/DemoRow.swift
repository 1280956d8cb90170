/// One measured and checked operator.
struct DemoRow: Codable, Sendable {
  /// The operator, as `import Apus` names it, and its kind of keys.
  var operation: String
  /// Types of q and o, then of the cache and its scales.
  var types: String
  /// Back end.
  var backend: String
  /// Median time of one layer.
  var seconds: Double
  /// Compulsory bytes per second, for operators that memory limits.
  var bytesPerSecond: Double?
  /// Operations per second, for operators that arithmetic limits.
  var flopsPerSecond: Double?
  /// Fraction of the measured limit.
  var fractionOfLimit: Double
  /// Largest relative L2 error of any layer against float64 on the same stored operands.
  var error: Double
  /// What it may be.
  var bound: Double
  /// Likewise for the log-sum-exp, where the operator writes one.
  var lseError: Double?
  var lseBound: Double?
  /// Rows whose bytes differ from the definition's, where bytes are defined.
  var differingRows: Int?

  /// Whether every bound holds; NaN holds none.
  var isWithinBound: Bool {
    guard error <= bound, differingRows ?? 0 == 0 else { return false }
    guard let lseError, let lseBound else { return true }
    return lseError <= lseBound
  }

  enum CodingKeys: String, CodingKey {
    case operation = "operator"
    case types, backend, seconds, bytesPerSecond, flopsPerSecond, fractionOfLimit, error, bound
    case lseError, lseBound, differingRows
  }
}

/// What narrow storage costs: the whole way from f32 tensors to the result.
struct StorageRow: Codable, Sendable {
  /// The operator.
  var operation: String
  /// Types as in `DemoRow`.
  var types: String
  /// Bytes of K and V per token of one layer, scales included; nil where nothing is cached.
  var cacheBytesPerToken: Double?
  /// Largest relative L2 error of any layer against float64 attention over the f32 tensors.
  var error: Double
  /// What it may be.
  var bound: Double

  /// Whether the bound holds.
  var isWithinBound: Bool { error <= bound }

  enum CodingKeys: String, CodingKey {
    case operation = "operator"
    case types, cacheBytesPerToken, error, bound
  }
}
