/// What a mask does to a rectangle of scores; kernels skip `.masked` and need no test in `.full`.
public enum TileStatus: Sendable, Hashable {
  /// No pair is visible.
  case masked
  /// Some pairs may be visible: test each.
  case partial
  /// Every pair is visible.
  case full
}

/// Which keys a query sees. The parts compose by AND.
///
/// With `position = kvLength − qoLength + i` (queries are the last rows of the context):
/// - causal: key `j` is visible when `j ≤ position` (bottom-right aligned; a query longer than its
///   KV has fully masked first rows);
/// - window: key `j` is visible when `j ≥ position − windowLeft` (inclusive: windowLeft + 1 keys
///   together with causal);
/// - custom: its bit is set.
public struct AttentionMask: Sendable, Hashable, CustomStringConvertible {
  /// Bottom-right aligned causal mask.
  public var isCausal: Bool
  /// Keys visible before the query's own position, or nil for no limit.
  public var windowLeft: Int?
  /// Explicit bits, or nil.
  public var custom: CustomMask?

  /// A composed mask.
  public init(isCausal: Bool = false, windowLeft: Int? = nil, custom: CustomMask? = nil) {
    self.isCausal = isCausal
    self.windowLeft = windowLeft
    self.custom = custom
  }

  /// Everything visible.
  public static let none = AttentionMask()
  /// Bottom-right aligned causal mask.
  public static let causal = AttentionMask(isCausal: true)
  /// Explicit bits only.
  public static func custom(_ mask: CustomMask) -> AttentionMask { AttentionMask(custom: mask) }

  /// Keys that causal and window leave visible to query `i`: a contiguous, possibly empty range.
  /// A custom mask further thins it out.
  public func visibleKeys(_ i: Int, qoLength: Int, kvLength: Int) -> Range<Int> {
    let position = kvLength - qoLength + i
    let end = isCausal ? Swift.min(kvLength, position + 1) : kvLength
    var start = 0
    if let windowLeft {
      let (first, overflow) = position.subtractingReportingOverflow(windowLeft)
      start = overflow ? 0 : Swift.max(first, 0)
    }
    return end <= start ? 0..<0 : start..<end
  }

  /// Whether query `i` of request `r` sees key `j`.
  public func allows(request r: Int, _ i: Int, _ j: Int, qoLength: Int, kvLength: Int) -> Bool {
    visibleKeys(i, qoLength: qoLength, kvLength: kvLength).contains(j)
      && (custom?.allows(request: r, i, j, kvLength: kvLength) ?? true)
  }

  /// Keys that any query of `queries` can see before the custom mask: kernels loop over these.
  public func keyRange(queries: Range<Int>, qoLength: Int, kvLength: Int) -> Range<Int> {
    var range: Range<Int>?
    // Both ends grow with i, so first and last non-empty rows bound the union.
    let first = visibleKeys(queries.lowerBound, qoLength: qoLength, kvLength: kvLength)
    let last = visibleKeys(
      Swift.max(queries.upperBound - 1, queries.lowerBound), qoLength: qoLength, kvLength: kvLength)
    if !queries.isEmpty, !last.isEmpty {
      let position = kvLength - qoLength + queries.lowerBound
      let start = windowLeft.map { Swift.max(position.subtractingClamped($0), 0) } ?? 0
      range = Swift.min(first.isEmpty ? start : first.lowerBound, last.lowerBound)..<last.upperBound
    } else if !queries.isEmpty, !first.isEmpty {
      range = first.lowerBound..<kvLength
    }
    return range ?? 0..<0
  }

  /// Block-level answer for queries × keys of one request.
  public func status(queries: Range<Int>, keys: Range<Int>, qoLength: Int, kvLength: Int)
    -> TileStatus
  {
    guard !queries.isEmpty, !keys.isEmpty else { return .masked }
    let union = keyRange(queries: queries, qoLength: qoLength, kvLength: kvLength)
    if union.clamped(to: keys).isEmpty { return .masked }
    if custom != nil { return .partial }
    let first = visibleKeys(queries.lowerBound, qoLength: qoLength, kvLength: kvLength)
    let last = visibleKeys(queries.upperBound - 1, qoLength: qoLength, kvLength: kvLength)
    let common = Swift.max(first.lowerBound, last.lowerBound)
    let end = Swift.min(first.upperBound, last.upperBound)
    return common <= keys.lowerBound && keys.upperBound <= end ? .full : .partial
  }

  /// `none`, `causal`, `window 128`, `custom(…)` joined by `+`.
  public var description: String {
    var parts: [String] = []
    if isCausal { parts.append("causal") }
    if let windowLeft { parts.append("window \(windowLeft)") }
    if let custom { parts.append(custom.description) }
    return parts.isEmpty ? "none" : parts.joined(separator: "+")
  }
}

extension Int {
  /// Subtraction that saturates at `Int.min` and `Int.max`.
  fileprivate func subtractingClamped(_ other: Int) -> Int {
    let (value, overflow) = subtractingReportingOverflow(other)
    return overflow ? (other > 0 ? .min : .max) : value
  }
}
