/// A dequantisation multiplier: real = stored × scale, everywhere. What is stored (append, o) is
/// divided by it and saturated.
public enum Scale: Sendable, Hashable, CustomStringConvertible {
  /// 1: values are stored as they are.
  case one
  /// One multiplier for the tensor.
  case tensor(Float)
  /// One f32 multiplier per head, `[headCount]` (static calibration).
  case head(TensorView)
  /// One f32 multiplier per token and head, beside a K or V cache: its shape is the cache's without
  /// the last dimension, `[…, token, head]` NHD or `[…, head, token]` HND.
  case tokenHead(TensorView)

  /// The granularity's name.
  public var description: String {
    switch self {
    case .one: "one"
    case .tensor(let value): "tensor \(value)"
    case .head: "head"
    case .tokenHead: "token-head"
    }
  }
}

extension Validator {
  /// Checks a scale: finite and positive when it is a value, the right f32 tensor otherwise.
  ///
  /// - Parameter tokenShape: extents of a token-head scale; nil when that granularity is refused.
  public mutating func requireScale(
    _ name: String, _ scale: Scale, headCount: Int, tokenShape: [Int?]?
  ) {
    switch scale {
    case .one: break
    case .tensor(let value):
      require(
        value.isFinite && value > 0, "\(name) must be finite and positive", found: "\(value)")
    case .head(let view):
      requireTensor(name, view, [.f32], shape: [headCount])
    case .tokenHead(let view):
      guard let tokenShape else {
        require(
          false, "\(name) must be per tensor or per head", found: "token-head",
          remedy: "Only K and V caches carry token-head scales.")
        return
      }
      requireTensor(name, view, [.f32], shape: tokenShape, innermostContiguous: false)
    }
  }
}
