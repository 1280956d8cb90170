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
///
/// - Precondition: of its methods: lengths and indices are those of a validated problem.
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
  /// A tile may overhang the request: queries from `qoLength` on do not count.
  public func keyRange(queries: Range<Int>, qoLength: Int, kvLength: Int) -> Range<Int> {
    let queries = queries.clamped(to: 0..<Swift.max(qoLength, 0))
    guard !queries.isEmpty else { return 0..<0 }
    let first = visibleKeys(queries.lowerBound, qoLength: qoLength, kvLength: kvLength)
    let last = visibleKeys(queries.upperBound - 1, qoLength: qoLength, kvLength: kvLength)
    guard !last.isEmpty else { return 0..<0 }
    // Both ends grow with i by at most 1, so the union has no gap. Rows are empty only before
    // position 0 of a causal mask, and the row at position 0 sees key 0: an empty `first` (0..<0)
    // has the right start too.
    return first.lowerBound..<last.upperBound
  }

  /// Block-level answer for queries × keys of one request. A tile may overhang the request:
  /// queries from `qoLength` on do not count, keys from `kvLength` on are not visible.
  public func status(queries: Range<Int>, keys: Range<Int>, qoLength: Int, kvLength: Int)
    -> TileStatus
  {
    let queries = queries.clamped(to: 0..<Swift.max(qoLength, 0))
    guard !queries.isEmpty, !keys.isEmpty else { return .masked }
    let union = keyRange(queries: queries, qoLength: qoLength, kvLength: kvLength)
    if union.clamped(to: keys).isEmpty { return .masked }
    if custom != nil { return .partial }
    let first = visibleKeys(queries.lowerBound, qoLength: qoLength, kvLength: kvLength)
    let last = visibleKeys(queries.upperBound - 1, qoLength: qoLength, kvLength: kvLength)
    // Both ends grow with i: the keys that all rows see lie between the last start and first end.
    return last.lowerBound <= keys.lowerBound && keys.upperBound <= first.upperBound
      ? .full : .partial
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
