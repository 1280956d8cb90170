internal import ApusCore

extension CPUBackend {
  /// Per-head scale tensors lie in host memory and are short: their values are checked before
  /// anything is written. Token-head scales are data of the cache (unused slots may hold anything):
  /// a NaN among those in use propagates.
  static func validateScaleValues(
    _ scales: [(name: String, scale: Scale)], operation: String
  ) throws(ArgumentError) {
    var validator = Validator(operation)
    for (name, scale) in scales {
      guard case .head(let view) = scale else { continue }
      for head in 0..<view.shape[0] {
        guard let value = view.hostFloat(at: head) else { break }
        guard
          validator.require(
            value.isFinite && value > 0, "\(name) must be finite and positive",
            found: "\(value) at head \(head)")
        else { break }
      }
    }
    try validator.finish()
  }
}

extension AttentionScales {
  /// Every scale with its name in errors.
  var named: [(name: String, scale: Scale)] {
    [("qScale", q), ("kScale", k), ("vScale", v), ("oScale", o), ("kpeScale", kpe)]
  }
}

extension AppendArguments {
  /// The per-head scales with their names in errors.
  var namedHeadScales: [(name: String, scale: Scale)] {
    var result: [(name: String, scale: Scale)] = []
    if case .head(let view) = kScale { result.append(("kScale", .head(view))) }
    if case .head(let view) = vScale { result.append(("vScale", .head(view))) }
    return result
  }
}
