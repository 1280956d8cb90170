public import ApusCore
public import ApusNumerics

extension Reference {
  /// The naive computation in f32 that tolerances refer to: what a straightforward program with the
  /// same storage types would give.
  ///
  /// Every `fl` is one rounding to f32, sums run in index order with products rounded first:
  /// ```
  /// q̂ = fl(q·qScale), k̂ = fl(k·kScale), v̂ = fl(v·vScale), rotated with f32 cosines and sines
  /// x_j = softmaxScale · Σ_e q̂[e]·k̂_j[e], then soft cap and ALiBi
  /// t_j = x_j · log₂e,  m = max_j t_j,  p_j = 2^(t_j − m),  d = Σ_j p_j
  /// o = round_o((Σ_j round_P(p_j)·v̂_j) / (d + 2^(sink·log₂e − m)) / oScale)
  /// lse = m + log₂ d
  /// ```
  /// `d` sums the weights before `round_P`. Angles of the rotation are computed in float64; only
  /// their cosines and sines are rounded, as in a precomputed table. Empty rows are as in
  /// `attention`.
  ///
  /// - Parameter pType: the type that weights are rounded to before they meet v.
  /// - Returns: o as `attention` shapes it, each value representable in o's type (rounded to
  ///   nearest even, saturating), and lse in base 2. Rows that no request owns are NaN.
  /// - Throws: `ArgumentError` with every violation.
  public static func naiveAttention(
    _ problem: AttentionProblem, _ arguments: AttentionArguments, pType: ElementType = .f32
  ) throws(ArgumentError) -> (o: [Float], lse: [Float]) {
    try problem.validate(operation: "Reference.naiveAttention")
    try arguments.validate(for: problem, memory: .host, operation: "Reference.naiveAttention")
    let operands = AttentionOperands(problem: problem, arguments: arguments)
    let (heads, width) = (problem.shape.qoHeadCount, problem.shape.headDimVO)
    let rows = problem.qoIndptr.end
    var o = [Float](repeating: .nan, count: rows * heads * width)
    var lse = [Float](repeating: .nan, count: rows * heads)

    problem.forEachRow { r, g in
      (
        k: (0..<problem.kvLength(r)).map { j in
          rotated(operands.key(r, j, head: g).floats, position: j, problem.modification.rope)
        },
        v: (0..<problem.kvLength(r)).map { operands.value(r, $0, head: g).floats }
      )
    } _: { row, kv in
      let h = row.head
      let q = rotated(
        operands.query(row.row, head: h).floats, position: row.position, problem.modification.rope)
      let x = row.keys.map { j in
        score(problem, q, kv.k[j], head: h, distance: j - row.position)
      }
      let output = weightedMean(
        x, row.keys.map { kv.v[$0] }, sink: operands.sink(head: h), width: width, pType: pType)
      lse[row.row * heads + h] = output.lse
      for e in 0..<width {
        o[(row.row * heads + h) * width + e] = rounded(
          output.o[e] / operands.outputScale(head: h), to: problem.types.o)
      }
    }
    return (o, lse)
  }

  private static func score(
    _ problem: AttentionProblem, _ q: [Float], _ k: [Float], head: Int, distance: Int
  ) -> Float {
    var product: Float = 0
    for e in q.indices { product += q[e] * k[e] }
    var x = problem.softmaxScale * product
    if let cap = problem.modification.activeSoftCap { x = cap * Math.tanh(x / cap) }
    if let slopes = problem.modification.alibiSlopes { x += slopes[head] * Float(distance) }
    return x
  }

  private static func weightedMean(
    _ x: [Float], _ v: [[Float]], sink: Float?, width: Int, pType: ElementType
  ) -> (o: [Float], lse: Float) {
    let t = x.map { $0 * Float(Math.log2e) }
    var m = -Float.infinity
    for score in t where score > m { m = score }
    let p = t.map { $0 == -.infinity ? 0 : Math.exp2($0 - m) }
    var d: Float = 0
    for weight in p { d += weight }
    var o = [Float](repeating: 0, count: width)
    guard d != 0 else { return (o, -.infinity) }

    var denominator = d
    if let sink { denominator += Math.exp2(sink * Float(Math.log2e) - m) }
    let weights = p.map { rounded($0, to: pType) }
    for j in weights.indices {
      for e in 0..<width { o[e] += weights[j] * v[j][e] }
    }
    for e in 0..<width { o[e] /= denominator }
    return (o, m + Math.log2(d))
  }

  /// The value of `type` nearest to `x`, ties to even, saturating below f32; NaN stays NaN.
  static func rounded(_ x: Float, to type: ElementType) -> Float {
    type == .f32 ? x : type.format.decode(type.format.encode(x, overflow: .saturate))
  }
}
