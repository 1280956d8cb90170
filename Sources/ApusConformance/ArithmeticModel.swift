public import Apus
public import ApusCore
public import ApusNumerics

/// What a back end declares about its arithmetic; tolerances are derived from it.
///
/// Everything not declared is f32 with correctly rounded elementary operations and exp2, log2, sin
/// and cos within 4 units in the last place.
public struct ArithmeticModel: Sendable, Hashable, CustomStringConvertible {
  /// Type that the weights P are rounded to before they meet V under `.fast`.
  public var pType: ElementType
  /// Type of P where it depends on the problem, under `.fast`; nil leaves it at `pType`.
  public var weights: WeightRule?
  /// Type that dequantised or rotated q, k and v are rounded to before products under `.fast`.
  public var operandType: ElementType
  /// Relative error of tanh (soft cap) under `.fast`.
  public var tanhError: Double
  /// Relative error of the angle of RoPE inside attention under `.fast`; 0 for float64 angles.
  public var angleError: Double

  /// f32 throughout by default.
  public init(
    pType: ElementType = .f32, weights: WeightRule? = nil, operandType: ElementType = .f32,
    tanhError: Double = 0x1p-22, angleError: Double = 0
  ) {
    self.weights = weights
    self.pType = pType
    self.operandType = operandType
    self.tanhError = tanhError
    self.angleError = angleError
  }

  /// The GPU kernels': under `.fast`, products of 16-bit operands on tensor cores with sums in f32,
  /// P rounded to 16 bits, and `tanh.approx.f32`, whose relative error PTX bounds by 2⁻¹¹.
  public static let tensorCores = ArithmeticModel(
    weights: WeightRule("as V or q where that has 16 bits") { problem in
      [problem.types.kv, problem.types.q].first { $0 == .f16 || $0 == .bf16 }
    }, tanhError: 0x1p-11)

  /// What the CPU back end declares: P is rounded to bf16 where it multiplies bf16 pairs.
  public static func cpu(_ backend: CPUBackend) -> ArithmeticModel {
    let engine = backend.engine
    return ArithmeticModel(
      weights: WeightRule("bf16 where \(engine.instructionSet) multiplies its pairs") { problem in
        engine.roundsWeights(problem) ? .bf16 : nil
      })
  }

  /// What a back end declares: nothing but f32 where it is not known to this suite.
  public static func declared(by backend: any Backend) -> ArithmeticModel {
    (backend as? CPUBackend).map(cpu) ?? ArithmeticModel()
  }

  /// What holds for a problem: `.accurate` is f32-grade whatever a back end does elsewhere.
  public func resolved(for problem: AttentionProblem) -> ArithmeticModel {
    if problem.options.precision == .accurate { return ArithmeticModel() }
    var model = self
    if let type = weights?.type(problem) { model.pType = type }
    return model
  }

  /// Unit roundoff of storing a `source` element as an operand: 0 where that is exact.
  func operandRoundoff(_ source: ElementType, isModified: Bool) -> Double {
    let isExact =
      operandType == .f32
      || (!isModified && source.mantissaBits <= operandType.mantissaBits)
    return isExact ? 0 : operandType.unitRoundoff
  }

  /// One line.
  public var description: String {
    let rule = weights.map { "\($0), else " } ?? ""
    return "P \(rule)\(pType), operands \(operandType)"
  }
}

/// The type that P is rounded to, as a function of the problem. Equal names are equal rules.
public struct WeightRule: Sendable, Hashable, CustomStringConvertible {
  /// The rule in words.
  public let description: String
  /// The type of P; nil where the rule says nothing.
  public let type: @Sendable (AttentionProblem) -> ElementType?

  /// A rule.
  public init(
    _ description: String, type: @escaping @Sendable (AttentionProblem) -> ElementType?
  ) {
    self.description = description
    self.type = type
  }

  /// Equality of the names.
  public static func == (left: WeightRule, right: WeightRule) -> Bool {
    left.description == right.description
  }

  /// Hashes the name.
  public func hash(into hasher: inout Hasher) { hasher.combine(description) }
}
