public import ApusCore

extension Reference {
  /// Rotary position embedding (arXiv 2104.09864) of q and k in float64, before rounding to their
  /// types.
  ///
  /// For a row at position `p` and each pair `i` of `rotaryDim / 2`, at indices `(a, b)` given by
  /// the pairing: `a: x_a·cos θ − x_b·sin θ`, `b: x_b·cos θ + x_a·sin θ`, with
  /// `θ = p · frequency(i)`, or cosine and sine read from row `p` of the table. Elements from
  /// `rotaryDim` on stay as they are. Nothing is written.
  ///
  /// - Returns: q `[rows, qoHead, headDim]` and k `[rows, kvHead, headDim]`, row-major.
  /// - Throws: `ArgumentError` with every violation.
  public static func rotate(
    _ arguments: RotaryArguments
  ) throws(ArgumentError) -> (q: [Double], k: [Double]) {
    let arguments = try arguments.readingPositions(operation: "Reference.rotate")
    try arguments.validate(memory: .host, operation: "Reference.rotate")
    return (rotate(arguments, arguments.q), rotate(arguments, arguments.k))
  }

  private static func rotate(_ arguments: RotaryArguments, _ view: TensorView) -> [Double] {
    let tensor = HostTensor(view)
    var result: [Double] = []
    for (row, position) in arguments.positions.enumerated() {
      for head in 0..<view.shape[1] {
        let x = tensor.row([row, head]).map(Double.init)
        switch arguments.source {
        case .frequencies(let rope):
          result += rotated(x, position: position, rope)
        case .cosSinCache(let table, let pairing):
          let entry = HostTensor(table).row([position]).map(Double.init)
          let pairs = entry.count / 2
          result += rotated(
            x, dim: 2 * pairs, pairing, cos: Array(entry[..<pairs]), sin: Array(entry[pairs...]))
        }
      }
    }
    return result
  }

  /// A row rotated to a position, which may be negative; unchanged when `rope` is nil.
  static func rotated(_ x: [Double], position: Int, _ rope: RotaryEmbedding?) -> [Double] {
    guard let rope else { return x }
    let (dim, angles) = angles(rope, position: position, headDim: x.count)
    return rotated(
      x, dim: dim, rope.pairing, cos: angles.map(Math.cos), sin: angles.map(Math.sin))
  }

  /// The same in f32 with cosines and sines rounded to f32.
  static func rotated(_ x: [Float], position: Int, _ rope: RotaryEmbedding?) -> [Float] {
    guard let rope else { return x }
    let (dim, angles) = angles(rope, position: position, headDim: x.count)
    return rotated(
      x, dim: dim, rope.pairing, cos: angles.map { Float(Math.cos($0)) },
      sin: angles.map { Float(Math.sin($0)) })
  }

  private static func angles(
    _ rope: RotaryEmbedding, position: Int, headDim: Int
  ) -> (dim: Int, angles: [Double]) {
    let dim = rope.rotaryDim ?? headDim
    return (dim, (0..<dim / 2).map { Double(position) * rope.frequency($0, dim: dim) })
  }

  private static func rotated<Value: BinaryFloatingPoint>(
    _ x: [Value], dim: Int, _ pairing: RotaryEmbedding.Pairing, cos: [Value], sin: [Value]
  ) -> [Value] {
    var result = x
    for pair in 0..<dim / 2 {
      let (a, b) =
        pairing == .half ? (pair, pair + dim / 2) : (2 * pair, 2 * pair + 1)
      result[a] = x[a] * cos[pair] - x[b] * sin[pair]
      result[b] = x[b] * cos[pair] + x[a] * sin[pair]
    }
    return result
  }
}
