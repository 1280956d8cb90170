/// Order of the token and head dimensions in K and V.
public enum KVLayout: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  /// Tokens, heads, dimension: `[…, token, head, dim]`.
  case nhd = "NHD"
  /// Heads, tokens, dimension: `[…, head, token, dim]`.
  case hnd = "HND"

  /// `NHD` or `HND`.
  public var description: String { rawValue }

  /// Extents of the two middle dimensions in this order.
  public func ordered(tokens: Int?, heads: Int?) -> [Int?] {
    switch self {
    case .nhd: [tokens, heads]
    case .hnd: [heads, tokens]
    }
  }
}
