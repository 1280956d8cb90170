internal import ApusCore

/// A stored row and the multiplier of each of its elements: real = values · scales.
///
/// Both are exact f32 values; the reader chooses the precision of the product.
struct ScaledRow {
  var values: [Float]
  var scales: [Float]

  /// A row with one multiplier.
  init(_ values: [Float], scale: Float) {
    self.values = values
    self.scales = [Float](repeating: scale, count: values.count)
  }

  /// The row followed by another.
  func followed(by other: ScaledRow) -> ScaledRow {
    var result = self
    result.values += other.values
    result.scales += other.scales
    return result
  }

  /// The first `count` elements.
  func prefix(_ count: Int) -> ScaledRow {
    var result = self
    result.values = Array(values.prefix(count))
    result.scales = Array(scales.prefix(count))
    return result
  }

  /// The real values in float64: products of two f32 values are exact there.
  var doubles: [Double] { values.indices.map { Double(values[$0]) * Double(scales[$0]) } }
  /// The real values rounded to f32.
  var floats: [Float] { values.indices.map { values[$0] * scales[$0] } }
}

/// Reads the rows of validated attention arguments by their meaning.
struct AttentionOperands {
  let problem: AttentionProblem
  let arguments: AttentionArguments

  private var tokens: TokenIndex {
    TokenIndex(geometry: problem.geometry, layout: problem.layout)
  }

  /// Query of row `row` (a row of q, not of a request) and query head `head`.
  func query(_ row: Int, head: Int) -> ScaledRow {
    let scale = headScale(arguments.scales.q, head)
    switch arguments.q {
    case .packed(let q):
      return ScaledRow(HostTensor(q).row([row, head]), scale: scale)
    case .split(let nope, let rope):
      return ScaledRow(
        HostTensor(nope).row([row, head]) + HostTensor(rope).row([row, head]), scale: scale)
    }
  }

  /// Key `j` of request `r` for KV head `head`; for MLA the whole latent row.
  func key(_ r: Int, _ j: Int, head: Int) -> ScaledRow {
    let scale = tokenScale(arguments.scales.k, r, j, head: head)
    switch arguments.kv {
    case .separate(let k, _):
      return ScaledRow(HostTensor(k).row(tokens.outer(r, j, head: head)), scale: scale)
    case .combined(let kv):
      return ScaledRow(HostTensor(kv).row(tokens.outer(r, j, head: head, part: 0)), scale: scale)
    case .latent(let ckv, let kpe):
      return ScaledRow(latentRow(ckv, r, j, head: head), scale: scale)
        .followed(by: ScaledRow(latentRow(kpe, r, j, head: head), scale: kpeScale(r, j, head)))
    case .packedLatent(let latent):
      let row = latentRow(latent, r, j, head: head)
      let width = problem.latent?.ckv ?? row.count
      return ScaledRow(Array(row.prefix(width)), scale: scale)
        .followed(by: ScaledRow(Array(row.dropFirst(width)), scale: kpeScale(r, j, head)))
    }
  }

  /// Value `j` of request `r` for KV head `head`; for MLA the first `headDimVO` values of the
  /// latent row, with the latent's scale.
  func value(_ r: Int, _ j: Int, head: Int) -> ScaledRow {
    let scale = tokenScale(arguments.scales.v, r, j, head: head)
    switch arguments.kv {
    case .separate(_, let v):
      return ScaledRow(HostTensor(v).row(tokens.outer(r, j, head: head)), scale: scale)
    case .combined(let kv):
      return ScaledRow(HostTensor(kv).row(tokens.outer(r, j, head: head, part: 1)), scale: scale)
    case .latent, .packedLatent:
      return key(r, j, head: head).prefix(problem.shape.headDimVO)
    }
  }

  /// What o of query head `head` is divided by.
  func outputScale(head: Int) -> Float { headScale(arguments.scales.o, head) }

  /// The sink of query head `head`; nil when there are none.
  func sink(head: Int) -> Float? { arguments.sinks.map { HostTensor($0).float([head]) } }

  private func latentRow(_ view: TensorView, _ r: Int, _ j: Int, head: Int) -> [Float] {
    HostTensor(view).row(tokens.outerLatent(r, j, head: head, rank: view.shape.count))
  }

  /// The scale of kpe: `.one` means that of the latent.
  private func kpeScale(_ r: Int, _ j: Int, _ head: Int) -> Float {
    let scale = arguments.scales.kpe == .one ? arguments.scales.k : arguments.scales.kpe
    return tokenScale(scale, r, j, head: head)
  }

  private func headScale(_ scale: Scale, _ head: Int) -> Float {
    switch scale {
    case .one: 1
    case .tensor(let value): value
    case .head(let view): HostTensor(view).float([head])
    case .tokenHead: preconditionFailure("a token-head scale belongs to K and V")
    }
  }

  private func tokenScale(_ scale: Scale, _ r: Int, _ j: Int, head: Int) -> Float {
    guard case .tokenHead(let view) = scale else { return headScale(scale, head) }
    return HostTensor(view).float(tokens.outer(r, j, head: head))
  }
}
