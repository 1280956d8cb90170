internal import ApusCore

/// What came of one check.
public enum CaseOutcome: Sendable, Hashable {
  /// It held; `margin` is the largest error relative to what was allowed.
  case passed(margin: Double)
  /// It did not: what was found.
  case failed([String])
  /// The back end says that it does not implement this.
  case skipped(reason: String)
}

/// Why the body of a check ended early.
enum Interruption: Error {
  case failed(String)
  case skipped(String)
}

extension Interruption {
  /// Runs `body`, turning errors into interruptions: unsupported skips, everything else fails.
  static func guarding<Value>(
    _ what: String, _ body: () throws(ApusError) -> Value
  ) throws(Interruption) -> Value {
    do {
      return try body()
    } catch .unsupported(let error) {
      throw .skipped("\(error.requested)")
    } catch {
      throw .failed("\(what) threw: \(error)")
    }
  }

  /// The same for the reference, whose refusal is a defect of the suite's own case.
  static func reference<Value>(
    _ body: () throws(ArgumentError) -> Value
  ) throws(Interruption) -> Value {
    do {
      return try body()
    } catch {
      throw .failed("the reference refused a case that must be valid: \(error)")
    }
  }

  /// The outcome of a body that returns its failures and margin.
  static func outcome(
    _ body: () throws(Interruption) -> (failures: [String], margin: Double)
  ) -> CaseOutcome {
    do {
      let result = try body()
      return result.failures.isEmpty ? .passed(margin: result.margin) : .failed(result.failures)
    } catch {
      switch error {
      case .failed(let text): return .failed([text])
      case .skipped(let reason): return .skipped(reason: reason)
      }
    }
  }
}
