internal import ApusCore
internal import ApusNumerics

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Allowed deviation of one output element from the float64 definition.
struct Allowance {
  /// No correct back end exceeds this in any element: a bound, summed over worst cases.
  var worst: Double
  /// Root mean square expected of a correct back end: roundings of random sign.
  var typical: Double
  /// The part of `worst` that is the one rounding to the stored type.
  var rounding = 0.0
}

/// The tolerance of an attention case, derived from its data; no number in it is chosen by hand.
///
/// Notation: `u = 2⁻²⁴`; `d = headDimQK`; `n` keys; `X = |softmaxScale|·‖q‖·‖k‖ ≥ |score|` before
/// modification (Cauchy–Schwarz, norms are the largest of the head); `A` bounds ALiBi's term.
///
/// *Scores.* A product sum of d terms in f32 errs by at most `d·u·Σ|q||k| ≤ d·u·X` (Higham,
/// "Accuracy and Stability of Numerical Algorithms", §3.1). Dequantisation, softmax scale, log₂e,
/// cap and subtraction of the maximum round a value of at most X another twelve times, ALiBi's
/// term four times. exp2 within 4 ulp acts as `4u` more. With random signs the partial sums have
/// rms `≤ X·√(i/d)`/√d, so the sum errs by `u·X/√6` in rms; with the other roundings `4·u·X`.
///
/// *Weighted mean.* Scores that err by ε change `o = Σp·v/Σp` by at most
/// `(e^(2ε) − 1)·Σp|v|`. The two sums of n terms err by `n·u` each in the worst case; the rescales of
/// an online softmax with splits add at most one rounding and one exp2 per step of at least one
/// key, hence `2n`, and 24 covers dequantisation, division and merging. In rms a sum of n positive
/// terms errs by `u·√n/3`.
///
/// *P* rounded to its type errs by `u_P` per term in both sums; operands likewise.
///
/// *Rounding.* Half a unit of o's type at the result. Values beyond the range saturate, and
/// clamping never increases a difference.
///
/// Elements must stay within `worst`, and the relative L2 error of the case within
/// `2 · L2 error of the naive computation + typical` (style of FlashAttention's own tests).
struct AttentionTolerance {
  private let problem: AttentionProblem
  private let model: ArithmeticModel
  /// Worst and typical score error of each query head, natural-log units.
  private let scoreErrors: [(worst: Double, typical: Double)]
  private let magnitudes: [Double]

  static let u = 0x1p-24
  static let ln2 = 0.693147180559945309417232121458176568

  init(_ tensors: AttentionTensors, model declared: ArithmeticModel) {
    let problem = tensors.problem
    let model = declared.resolved(for: problem)
    self.problem = problem
    self.model = model
    let u = Self.u
    let d = Double(problem.shape.headDimQK)
    let types = problem.types
    let scales = tensors.arguments.scales
    let isRotated = problem.modification.rope != nil
    let operands =
      model.operandRoundoff(types.q, isModified: isRotated || scales.q != .one)
      + model.operandRoundoff(types.kv, isModified: isRotated || scales.k != .one)
    let longest = (0..<problem.batch).reduce(0) {
      Swift.max($0, problem.kvLength($1), problem.qoLength($1))
    }
    var errors: [(Double, Double)] = []
    var bounds: [Double] = []
    for head in 0..<problem.shape.qoHeadCount {
      let group = head / problem.shape.groupSize
      let x =
        Double(problem.softmaxScale.magnitude) * tensors.queryNorms[head] * tensors.keyNorms[group]
      let slope = problem.modification.alibiSlopes.map { Double($0[head].magnitude) } ?? 0
      let alibi = slope * Double(longest)
      var shared = operands * x + 4 * u * alibi + 4 * u
      if isRotated {
        // Cosines and sines rounded to f32, two products and a sum, for q and for k; an angle off
        // by δ turns the pair by δ.
        shared += 8 * u * x + 2 * model.angleError * Double(longest) * x
      }
      if let cap = problem.modification.activeSoftCap {
        shared += Swift.min(x, Double(cap)) * model.tanhError + 4 * u * Double(cap)
      }
      errors.append((shared + u * (d + 12) * x, shared + 4 * u * x))
      bounds.append(x + alibi)
    }
    scoreErrors = errors
    magnitudes = bounds
  }

  /// Allowance of an element of o whose true value, in units of o's storage, is `value`.
  func output(head: Int, keyCount: Int, value: Double, magnitude: Double) -> Allowance {
    let u = Self.u
    let n = Double(keyCount)
    let weights = 2 * Self.roundoff(model.pType)
    let values = model.operandRoundoff(problem.types.kv, isModified: true)
    let score = scoreErrors[head]
    let limit = Double(problem.types.o.greatestFiniteMagnitude)
    // The result is rounded where the computed value lies, one error away from the true one.
    func rounding(_ error: Double) -> Double {
      0.5 * problem.types.o.ulp(of: Swift.min(value.magnitude + error, limit))
    }
    let worst = (expm1(2 * score.worst) + 2 * u * (2 * n + 24) + weights + values) * magnitude
    let typical =
      (expm1(2 * score.typical) + 2 * u * (n.squareRoot() / 3 + 8) + weights + values) * magnitude
    return Allowance(
      worst: worst + rounding(worst), typical: typical + rounding(typical),
      rounding: rounding(worst))
  }

  /// Allowance of a log-sum-exp in base 2 units.
  func logSumExp(head: Int, keyCount: Int, value: Double) -> Allowance {
    let u = Self.u
    let n = Double(keyCount)
    let score = scoreErrors[head]
    // The maximum and the sum of both parts are rounded at a size of at most |score| + |lse|.
    let size = value.magnitude + magnitudes[head] / Self.ln2
    return Allowance(
      worst: (score.worst + u * (2 * n + 8)) / Self.ln2 + 3 * u * size,
      typical: (score.typical + u * (n.squareRoot() / 3 + 8)) / Self.ln2 + 3 * u * value.magnitude)
  }

  /// Unit roundoff of a 16-bit P; f32 is part of the sums' own bound.
  private static func roundoff(_ type: ElementType) -> Double {
    type == .f32 ? 0 : type.unitRoundoff
  }
}
