/// Base of the logarithm in a log-sum-exp.
public enum LogBase: String, Sendable, Hashable, CaseIterable {
  /// `log₂ Σ 2^(x·log₂e)`: FlashInfer's, and Apus's inside.
  case two
  /// `ln Σ e^x`: FlashAttention's and FlashMLA's.
  case e
}

/// How a log-sum-exp is written at a boundary: base, and the value of a row that sees no key.
public struct LSEConvention: Sendable, Hashable, CustomStringConvertible {
  /// Value of an empty row.
  public enum EmptyRow: String, Sendable, Hashable, CaseIterable {
    /// −∞, the limit of the sum; merging then needs no special case.
    case negativeInfinity
    /// +∞, FlashMLA's dense decode.
    case positiveInfinity
  }

  /// Base of the logarithm.
  public var base: LogBase
  /// Value of an empty row.
  public var emptyRow: EmptyRow

  /// A convention from its two parts.
  public init(base: LogBase, emptyRow: EmptyRow = .negativeInfinity) {
    self.base = base
    self.emptyRow = emptyRow
  }

  /// Base 2 and −∞: FlashInfer's, and the only one inside Apus.
  public static let base2 = LSEConvention(base: .two)
  /// Natural logarithm and −∞: FlashAttention's.
  public static let natural = LSEConvention(base: .e)
  /// Natural logarithm and +∞: FlashMLA's dense decode.
  public static let flashMLA = LSEConvention(base: .e, emptyRow: .positiveInfinity)

  /// `ln 2`.
  static let ln2 = 0.693147180559945309417232121458176568

  /// Writes an internal value (base 2, −∞ for empty) in this convention.
  public func external(_ internalValue: Float) -> Float {
    if internalValue == -.infinity {
      return emptyRow == .negativeInfinity ? -.infinity : .infinity
    }
    return base == .two ? internalValue : Float(Double(internalValue) * Self.ln2)
  }

  /// Reads a value of this convention as internal (base 2, −∞ for empty). Inverse of `external`.
  public func `internal`(_ externalValue: Float) -> Float {
    if emptyRow == .positiveInfinity, externalValue == .infinity { return -.infinity }
    return base == .two ? externalValue : Float(Double(externalValue) / Self.ln2)
  }

  /// `base 2, empty −inf`.
  public var description: String {
    "base \(base == .two ? "2" : "e"), empty \(emptyRow == .negativeInfinity ? "-inf" : "+inf")"
  }
}
