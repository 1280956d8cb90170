public import ApusIR

/// One mistake in a kernel's construction, with the line of Swift that made it.
public struct ElaborationFailure: Sendable, Hashable, CustomStringConvertible {
  /// `operation: requirement; found value. remedy`.
  public let message: String
  /// The caller's file and line, in release builds too.
  public let location: SourceLocation

  /// A mistake.
  public init(message: String, location: SourceLocation) {
    self.message = message
    self.location = location
  }

  /// `Softmax.swift:31: message`.
  public var description: String { "\(location): \(message)" }
}

/// A kernel that could not be built: everything found, not the first only.
public struct ElaborationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The kernel's symbol.
  public let symbol: String
  /// Mistakes of the construction; if there are any, the verifier did not run.
  public let failures: [ElaborationFailure]
  /// What the verifier found.
  public let diagnostics: [Diagnostic]

  /// An error with its findings.
  public init(
    symbol: String, failures: [ElaborationFailure] = [], diagnostics: [Diagnostic] = []
  ) {
    self.symbol = symbol
    self.failures = failures
    self.diagnostics = diagnostics
  }

  /// All findings, a line each.
  public var description: String {
    (failures.map(\.description) + diagnostics.map(\.description)).joined(separator: "\n")
  }
}
