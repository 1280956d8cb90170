/// One requirement that a caller's value does not meet.
public struct Violation: Sendable, Hashable, CustomStringConvertible {
  /// What must hold, naming the argument as the caller spelled it.
  public let requirement: String
  /// The value or values found.
  public let found: String
  /// The way out, or nil when the requirement says it.
  public let remedy: String?

  /// A violation with its three parts.
  public init(_ requirement: String, found: String, remedy: String? = nil) {
    self.requirement = requirement
    self.found = found
    self.remedy = remedy
  }

  /// `requirement; found value. remedy`.
  public var description: String {
    let base = "\(requirement); found \(found)."
    guard let remedy else { return base }
    return "\(base) \(remedy)"
  }
}

/// The caller's mistake: every requirement that does not hold, not only the first.
public struct ArgumentError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The operation that refused, for example `BatchDecode.plan`.
  public let operation: String
  /// All violations found; never empty.
  public let violations: [Violation]

  /// An error with all its violations.
  public init(operation: String, violations: [Violation]) {
    self.operation = operation
    self.violations = violations
  }

  /// An error with one violation.
  public init(
    operation: String, _ requirement: String, found: String, remedy: String? = nil
  ) {
    self.operation = operation
    self.violations = [Violation(requirement, found: found, remedy: remedy)]
  }

  /// `operation: requirement; found value. remedy`, one line a violation.
  public var description: String {
    if violations.count == 1 { return "\(operation): \(violations[0])" }
    let lines = violations.map { "  - \($0)" }.joined(separator: "\n")
    return "\(operation): \(violations.count) requirements do not hold:\n\(lines)"
  }
}

/// Collects violations so that one error names them all.
public struct Validator {
  /// The operation that is validating.
  public let operation: String
  /// What was found so far.
  public private(set) var violations: [Violation] = []

  /// An empty collector for the named operation.
  public init(_ operation: String) {
    self.operation = operation
  }

  /// True while nothing is wrong: later checks that would index out of range can be skipped.
  public var isClean: Bool { violations.isEmpty }

  /// Records a violation unless `condition` holds; returns `condition`.
  @discardableResult
  public mutating func require(
    _ condition: Bool, _ requirement: @autoclosure () -> String, found: @autoclosure () -> String,
    remedy: @autoclosure () -> String? = nil
  ) -> Bool {
    if !condition {
      violations.append(Violation(requirement(), found: found(), remedy: remedy()))
    }
    return condition
  }

  /// Adopts the violations of another error, for composed operations.
  public mutating func absorb(_ error: ArgumentError) {
    violations.append(contentsOf: error.violations)
  }

  /// Throws when anything was recorded.
  public func finish() throws(ArgumentError) {
    guard violations.isEmpty else {
      throw ArgumentError(operation: operation, violations: violations)
    }
  }
}
