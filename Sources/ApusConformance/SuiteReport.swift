/// What a run of the suite found.
public struct SuiteReport: Sendable, CustomStringConvertible {
  /// A check that failed.
  public struct Failure: Sendable, Hashable {
    /// The check, with what rebuilds it.
    public let name: String
    /// What was found.
    public let details: [String]
    fileprivate let number: Int
  }

  /// What was compiled ahead of the cases.
  public struct Compilation: Sendable, Hashable {
    /// Kernels.
    public let kernelCount: Int
    /// Seconds from the start of the first to the end of the last.
    public let seconds: Double
  }

  /// Name of the back end.
  public let backend: String
  /// What was asked for.
  public let options: Suite.Options
  /// Checks that held.
  public private(set) var passedCount = 0
  /// Checks that did not hold.
  public private(set) var failedCount = 0
  /// Checks that the back end says it does not support; never counted as passed.
  public private(set) var skippedCount = 0
  /// Every failure, in the order of the checks.
  public private(set) var failures: [Failure] = []
  /// How often each reason for skipping occurred.
  public private(set) var skipReasons: [String: Int] = [:]
  /// What the cases covered that ran; skipped ones are left out.
  public private(set) var coverage = Coverage()
  /// How many cases ran each kernel, by its symbol; empty for back ends without kernels.
  public internal(set) var kernelCases: [String: Int] = [:]
  /// Kernels that were compiled for groups of cases; nil where cases are drawn one by one.
  public internal(set) var compilation: Compilation?
  /// Largest error relative to what was allowed, and the check that had it.
  public private(set) var largestMargin: (value: Double, name: String) = (0, "")
  /// Failures that the description spells out.
  private static let shownFailures = 20

  init(backend: String, options: Suite.Options) {
    self.backend = backend
    self.options = options
  }

  mutating func record(
    _ number: Int, _ name: String, _ value: ConformanceCase?, _ outcome: CaseOutcome
  ) {
    switch outcome {
    case .skipped(let reason):
      skippedCount += 1
      skipReasons[reason, default: 0] += 1
      return
    case .passed(let margin):
      passedCount += 1
      if margin > largestMargin.value { largestMargin = (margin, name) }
    case .failed(let details):
      failedCount += 1
      failures.append(Failure(name: name, details: details, number: number))
    }
    if let value { coverage.add(value) }
  }

  /// The same with failures in the order of the checks, whatever the workers' order was.
  var ordered: SuiteReport {
    var report = self
    report.failures.sort { $0.number < $1.number }
    return report
  }

  /// `N passed, N failed`, with `, N skipped` only when something was skipped.
  public var closingLine: String {
    let base = "\(passedCount) passed, \(failedCount) failed"
    return skippedCount == 0 ? base : "\(base), \(skippedCount) skipped"
  }

  /// Coverage, failures, reasons for skipping, and the closing line.
  public var description: String {
    var lines = ["conformance of \(backend), seed \(options.seed)"]
    if coverage.caseCount > 0 { lines.append("\(coverage)") }
    if largestMargin.value > 0 {
      let percent = (largestMargin.value * 1000).rounded() / 10
      lines.append("largest error: \(percent) % of its allowance, \(largestMargin.name)")
    }
    for failure in failures.prefix(Self.shownFailures) {
      lines.append("FAILED \(failure.name)")
      lines += failure.details.map { "  \($0)" }
    }
    if failures.count > Self.shownFailures {
      lines.append("\(failures.count - Self.shownFailures) more failures")
    }
    for (symbol, count) in kernelCases.sorted(by: { $0.key < $1.key }) {
      lines.append("kernel \(symbol): \(count) cases")
    }
    for (reason, count) in skipReasons.sorted(by: { $0.key < $1.key }) {
      lines.append("skipped \(count): \(reason)")
    }
    lines.append(closingLine)
    return lines.joined(separator: "\n")
  }
}
