public import ApusCore

/// What attention means for one problem and its tensors, before anything is rounded.
public struct AttentionResult: Sendable, Hashable {
  /// `[rows, qoHead, headDimVO]` row-major with rows = `qoIndptr.end`: the output after division by
  /// o's scale and before rounding to o's type. Rows that no request owns are NaN.
  public var o: [Double]
  /// `[rows, qoHead]` row-major, base 2, −∞ for an empty row, without sinks. Rows that no request
  /// owns are NaN.
  public var lse: [Double]
  /// `Σ_j p_j·|v_j|` after o's scale, shaped as `o`: what rounding errors of o are proportional to.
  public var oMagnitude: [Double]
}

extension Reference {
  /// Attention in float64.
  ///
  /// For query `i` of request `r`, query head `h`, KV head `g = h / groupSize` and visible key `j`,
  /// with `position = kvLength − qoLength + i` and dequantised (value × scale) operands:
  /// ```
  /// x_j = softCap(softmaxScale · rope(q_i, position)·rope(k_j, j)) + slope[h]·(j − position)
  /// softCap(x) = cap · tanh(x / cap)
  /// m = max_j x_j,  p_j = exp(x_j − m),  d = Σ_j p_j
  /// lse = log₂ Σ_j exp(x_j) = m·log₂e + log₂ d
  /// o = (Σ_j p_j·v_j) / (d + exp(sink[h] − m)) / oScale[h]
  /// ```
  /// Masked pairs do not exist: neither their keys nor their values enter any operation. A score of
  /// −∞ has weight 0; a row whose weights are all 0 (`d = 0`, no visible key included) is empty:
  /// o = 0 and lse = −∞, with or without a sink. Everything else follows IEEE 754: a NaN score or
  /// a score of +∞ makes o and lse NaN, and `0 · NaN` and `0 · ∞` in `p_j·v_j` make o NaN.
  /// For MLA k is the latent row and v its first `headDimVO` values (arXiv 2405.04434, §2.1).
  ///
  /// Sources: arXiv 1706.03762 §3.2.1 (attention), 2104.09864 (rope), 2108.12409 (ALiBi),
  /// 2408.00118 §2 (soft cap), 2309.17453 (sinks), 2501.01005 §2.2 (lse as state).
  ///
  /// - Throws: `ArgumentError` with every violation.
  public static func attention(
    _ problem: AttentionProblem, _ arguments: AttentionArguments
  ) throws(ArgumentError) -> AttentionResult {
    try problem.validate(operation: "Reference.attention")
    try arguments.validate(for: problem, memory: .host, operation: "Reference.attention")
    let operands = AttentionOperands(problem: problem, arguments: arguments)
    let (heads, width) = (problem.shape.qoHeadCount, problem.shape.headDimVO)
    let rows = problem.qoIndptr.end
    let blank = [Double](repeating: .nan, count: rows * heads * width)
    var result = AttentionResult(
      o: blank, lse: [Double](repeating: .nan, count: rows * heads), oMagnitude: blank)

    problem.forEachRow { r, g in
      (
        k: (0..<problem.kvLength(r)).map { j in
          rotated(operands.key(r, j, head: g).doubles, position: j, problem.modification.rope)
        },
        v: (0..<problem.kvLength(r)).map { operands.value(r, $0, head: g).doubles }
      )
    } _: { row, kv in
      let h = row.head
      let q = rotated(
        operands.query(row.row, head: h).doubles, position: row.position, problem.modification.rope)
      let x = row.keys.map { j in
        score(problem, q, kv.k[j], head: h, distance: j - row.position)
      }
      let output = weightedMean(
        x, row.keys.map { kv.v[$0] }, sink: operands.sink(head: h).map(Double.init), width: width)
      let oScale = Double(operands.outputScale(head: h))
      result.lse[row.row * heads + h] = output.lse
      for e in 0..<width {
        let index = (row.row * heads + h) * width + e
        result.o[index] = output.o[e] / oScale
        result.oMagnitude[index] = output.magnitude[e] / oScale.magnitude
      }
    }
    return result
  }

  /// `softCap(softmaxScale · q·k) + slope · distance`.
  private static func score(
    _ problem: AttentionProblem, _ q: [Double], _ k: [Double], head: Int, distance: Int
  ) -> Double {
    var product = 0.0
    for e in q.indices { product += q[e] * k[e] }
    var x = Double(problem.softmaxScale) * product
    if let cap = problem.modification.activeSoftCap {
      x = Double(cap) * Math.tanh(x / Double(cap))
    }
    if let slopes = problem.modification.alibiSlopes {
      x += Double(slopes[head]) * Double(distance)
    }
    return x
  }

  /// Softmax of the scores `x` of the visible keys applied to their values `v`.
  private static func weightedMean(
    _ x: [Double], _ v: [[Double]], sink: Double?, width: Int
  ) -> (o: [Double], magnitude: [Double], lse: Double) {
    var m = -Double.infinity
    // NaN compares false: it does not become the maximum but makes its own weight NaN below.
    for score in x where score > m { m = score }
    let p = x.map { $0 == -.infinity ? 0 : Math.exp($0 - m) }
    var d = 0.0
    for weight in p { d += weight }
    let zeros = [Double](repeating: 0, count: width)
    guard d != 0 else { return (zeros, zeros, -.infinity) }

    var denominator = d
    if let sink { denominator += Math.exp(sink - m) }
    var o = zeros
    var magnitude = zeros
    for j in p.indices {
      for e in 0..<width {
        o[e] += p[j] * v[j][e]
        magnitude[e] += p[j] * v[j][e].magnitude
      }
    }
    for e in 0..<width {
      o[e] /= denominator
      magnitude[e] /= denominator
    }
    return (o, magnitude, m * Math.log2e + Math.log2(d))
  }
}
