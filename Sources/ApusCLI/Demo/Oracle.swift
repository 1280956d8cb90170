import Apus
import ApusCore
import ApusNumerics
import ApusReference

/// What one computation should give, in float64, and how far from it a correct back end may be.
///
/// The bound on the relative L2 error is `2 · ε(naive) + ε(rounding)`: `naive` is the f32
/// computation of `Reference.naiveAttention` with the same storage types, and `rounding` the exact
/// result rounded once to the output type. Both are measured on the very data; no number is chosen.
struct Oracle: Sendable {
  /// `[row, head, dim]`.
  let o: [Double]
  /// `[row, head]`, base 2.
  let lse: [Double]
  private let naiveO: [Float]
  private let naiveLSE: [Float]
  private let outputType: ElementType
  private let headCount: Int
  private let headDim: Int

  /// Runs the definition and the naive computation of a problem.
  init(_ problem: AttentionProblem, _ arguments: AttentionArguments) throws {
    let result = try Reference.attention(problem, arguments)
    (o, lse) = (result.o, result.lse)
    (naiveO, naiveLSE) = try Reference.naiveAttention(problem, arguments)
    outputType = problem.types.o
    headCount = problem.shape.qoHeadCount
    headDim = problem.shape.headDimVO
  }

  private init(_ other: Oracle, rows: [Int]) {
    func select<Value>(_ values: [Value], _ width: Int) -> [Value] {
      rows.flatMap { values[$0 * width..<($0 + 1) * width] }
    }
    (headCount, headDim, outputType) = (other.headCount, other.headDim, other.outputType)
    o = select(other.o, headCount * headDim)
    lse = select(other.lse, headCount)
    naiveO = select(other.naiveO, headCount * headDim)
    naiveLSE = select(other.naiveLSE, headCount)
  }

  /// The same for some rows: row `n − 1` of a causal prefill is decode over the first `n` tokens.
  func selecting(rows: [Int]) -> Oracle { Oracle(self, rows: rows) }

  /// Bound on the relative L2 error of o.
  var bound: Double {
    let rounded = o.map {
      outputType.format.decode(outputType.format.encode($0, overflow: .saturate))
    }
    return 2 * relativeError(naiveO, o) + relativeError(rounded, o)
  }

  /// Bound on the relative L2 error of lse, which is f32 everywhere.
  var lseBound: Double {
    2 * relativeError(naiveLSE, lse) + relativeError(lse.map { Float($0) }, lse)
  }
}
