public import ApusCore
public import ApusNumerics

/// What a back end declares about its arithmetic; tolerances are derived from it.
///
/// Everything not declared is f32 with correctly rounded elementary operations and exp2, log2, sin
/// and cos within 4 units in the last place.
public struct ArithmeticModel: Sendable, Hashable, CustomStringConvertible {
  /// Type that the weights P are rounded to before they meet V under `.fast`.
  public var pType: ElementType
  /// Type that dequantised or rotated q, k and v are rounded to before products under `.fast`.
  public var operandType: ElementType
  /// Relative error of tanh (soft cap) under `.fast`.
  public var tanhError: Double
  /// Relative error of the angle of RoPE inside attention under `.fast`; 0 for float64 angles.
  public var angleError: Double

  /// f32 throughout by default.
  public init(
    pType: ElementType = .f32, operandType: ElementType = .f32, tanhError: Double = 0x1p-22,
    angleError: Double = 0
  ) {
    self.pType = pType
    self.operandType = operandType
    self.tanhError = tanhError
    self.angleError = angleError
  }

  /// What holds at a precision: `.accurate` is f32-grade whatever a back end does elsewhere.
  public func resolved(for precision: Precision) -> ArithmeticModel {
    precision == .accurate ? ArithmeticModel() : self
  }

  /// Unit roundoff of storing a `source` element as an operand: 0 where that is exact.
  func operandRoundoff(_ source: ElementType, isModified: Bool) -> Double {
    let isExact =
      operandType == .f32
      || (!isModified && source.mantissaBits <= operandType.mantissaBits)
    return isExact ? 0 : operandType.unitRoundoff
  }

  /// One line.
  public var description: String { "P \(pType), operands \(operandType)" }
}
