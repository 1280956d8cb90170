public import Testing

/// The combination that the enclosing `withEvery` calls are at.
///
/// Task-local, so that parallel tests do not see each other's.
public enum Sweep {
  @TaskLocal static var path: [String] = []

  /// The combination as a comment for `#expect`: `headDim: 64, pageSize: 1`.
  public static var comment: Comment { Comment(rawValue: path.joined(separator: ", ")) }
}

/// Runs `body` for every value and names the value in failures. Nest calls for combinations.
///
/// Failures of `expect(_:_:sourceLocation:)` and `expectEqual(_:_:_:sourceLocation:)` inside
/// `body` carry the combination; an error that `body` throws is recorded with it, and the sweep
/// goes on. An empty `values` is a failure: a sweep over nothing tests nothing.
public func withEvery<Values: Sequence>(
  _ name: String, in values: Values, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: (Values.Element) throws -> Void
) {
  var isEmpty = true
  for value in values {
    isEmpty = false
    Sweep.$path.withValue(Sweep.path + ["\(name): \(value)"]) {
      do {
        try body(value)
      } catch {
        Issue.record(error, Sweep.comment, sourceLocation: sourceLocation)
      }
    }
  }
  if isEmpty { Issue.record("no value of \(name) to try", sourceLocation: sourceLocation) }
}

/// Expects `condition` and names the sweep's combination if it is false.
public func expect(
  _ condition: Bool, _ detail: @autoclosure () -> String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  // Only a failure pays for the comment: sweeps run to millions of checks.
  if condition { return }
  Issue.record(
    Comment(rawValue: (Sweep.path + [detail()]).filter { !$0.isEmpty }.joined(separator: ", ")),
    sourceLocation: sourceLocation)
}

/// Expects equal values and names both and the sweep's combination if they differ.
public func expectEqual<Value: Equatable>(
  _ found: Value, _ expected: Value, _ detail: @autoclosure () -> String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  if found == expected { return }
  let difference = "found \(found), expected \(expected)"
  let text = detail()
  expect(
    false, text.isEmpty ? difference : "\(text): \(difference)", sourceLocation: sourceLocation)
}
