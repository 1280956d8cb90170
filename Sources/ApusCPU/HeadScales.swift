internal import ApusCore

/// Scales resolved for one run: a value per head, and tensors where they go by token and head.
struct HeadScales: Sendable {
  /// Per query head.
  let q: [Float]
  /// Per query head: the reciprocal is applied to o.
  let o: [Float]
  /// Per KV head; 1 where the scale goes by token.
  let k: [Float]
  /// Per KV head; 1 where the scale goes by token.
  let v: [Float]
  /// Per KV head: scale of the kpe part of a latent row.
  let kpe: [Float]
  /// Token-head scale of k, and of v (of the latent for both with MLA).
  let kToken: RowAddress?
  let vToken: RowAddress?

  init(_ scales: AttentionScales, problem: AttentionProblem) {
    let qoHeads = problem.shape.qoHeadCount
    let kvHeads = problem.shape.kvHeadCount
    q = Self.values(scales.q, qoHeads)
    o = Self.values(scales.o, qoHeads)
    let k = Self.values(scales.k, kvHeads)
    self.k = k
    let isLatent = problem.latent != nil
    v = isLatent ? k : Self.values(scales.v, kvHeads)
    kpe = scales.kpe == .one ? k : Self.values(scales.kpe, kvHeads)
    kToken = Self.tokens(scales.k, problem)
    vToken = Self.tokens(isLatent ? scales.k : scales.v, problem)
  }

  private static func values(_ scale: Scale, _ count: Int) -> [Float] {
    switch scale {
    case .one, .tokenHead:
      return [Float](repeating: 1, count: count)
    case .tensor(let value):
      return [Float](repeating: value, count: count)
    case .head(let view):
      return (0..<count).map { view.hostFloat(at: $0) ?? 1 }
    }
  }

  private static func tokens(_ scale: Scale, _ problem: AttentionProblem) -> RowAddress? {
    guard case .tokenHead(let view) = scale else { return nil }
    return RowAddress(view, geometry: problem.geometry, layout: problem.layout)
  }
}
