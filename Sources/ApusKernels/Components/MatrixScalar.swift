internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// A 16-bit element of tensor-core operands, with the type of two of them in a register.
protocol MatrixScalar: DataScalar {
  /// Two elements in a 32-bit register.
  associatedtype Pair: PairScalar where Pair.Literal == Float
  /// Both elements in binary32; exact.
  static func floats(_ pair: Value<Pair>) -> (low: Value<F32>, high: Value<F32>)
  /// The largest finite value.
  static var limit: Float { get }
}

extension MatrixScalar {
  /// Infinities become the largest finite value of their sign, as everything that operators store
  /// does; NaN stays.
  static func saturated(_ block: Block, _ pair: Value<Pair>) -> Value<Pair> {
    maxNaN(
      minNaN(pair, block.constant(limit, as: Pair.self)), block.constant(-limit, as: Pair.self))
  }
}

extension BF16: MatrixScalar {
  typealias Pair = BF16x2
  static let limit = Float(BFloat16.greatestFiniteMagnitude)
  static func floats(_ pair: Value<BF16x2>) -> (low: Value<F32>, high: Value<F32>) { pair.floats }
}

extension F16: MatrixScalar {
  typealias Pair = F16x2
  static let limit = Float(Half.greatestFiniteMagnitude)
  static func floats(_ pair: Value<F16x2>) -> (low: Value<F32>, high: Value<F32>) { pair.floats }
}
