import Apus
import ApusConformance
import ArgumentParser
import Foundation

/// `apus verify`: the conformance suite at the user's machine.
struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check a back end against the float64 definition.",
    discussion: """
      Runs generated cases over the whole contract, and prints what they covered. Cases alone are \
      counted unless --laws adds the algebraic laws and malformed calls. A failure names the seed \
      and index that rebuild it: run it alone with --seed S --case INDEX. Exits with 1 when \
      anything fails.
      """)

  @OptionGroup var backendOptions: BackendOptions

  @Option(help: "Cases.")
  var cases = 2000

  @Option(help: "Seed of all random choices.")
  var seed: UInt64 = 1

  @Option(name: .customLong("case"), help: "Run only the case of this index.")
  var caseIndex: Int?

  @Flag(help: "Also check laws (merge, split, page order, unused slots) and malformed calls.")
  var laws = false

  @Option(help: "Threads that run checks (default: one per CPU).")
  var workers: Int?

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard (1...10_000_000).contains(cases) else {
      throw ValidationError("--cases must be in 1…10000000; found \(cases).")
    }
    if let caseIndex, !(0...Int(Int32.max)).contains(caseIndex) {
      throw ValidationError("--case must be in 0…\(Int32.max); found \(caseIndex).")
    }
    if let workers, !(1...1024).contains(workers) {
      throw ValidationError("--workers must be in 1…1024; found \(workers).")
    }
  }

  func run() throws {
    let backend = try backendOptions.makeBackend()
    let progress = Progress()
    let clock = ContinuousClock()
    let start = clock.now
    let report = Suite(backend: backend, options: options).run { done, total in
      progress.show("\(done) of \(total) checks")
    }
    progress.clear()
    let elapsed = (clock.now - start).components
    if json {
      try Output.json(
        VerifyReport(
          report, machine: .current,
          seconds: Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18))
    } else {
      print(Self.text(of: report))
    }
    if report.failedCount > 0 { throw ExitCode.failure }
  }

  /// What the suite shall run.
  var options: Suite.Options {
    Suite.Options(
      seed: seed, cases: caseIndex.map { $0..<$0 + 1 } ?? 0..<cases,
      propertyRepetitions: laws ? 4 : 0, makesMalformedCalls: laws,
      workers: workers ?? ProcessInfo.processInfo.activeProcessorCount)
  }

  /// Coverage, every failure in full with how to run it alone, and the closing line.
  static func text(of report: SuiteReport) -> String {
    var lines = ["conformance of \(report.backend), seed \(report.options.seed)"]
    if report.options.cases.count > 1, report.coverage.caseCount > 0 {
      lines.append("\(report.coverage)")
    }
    if report.largestMargin.value > 0 {
      lines.append(
        "largest error: \(Format.fixed(report.largestMargin.value * 100, 1)) % of its allowance, "
          + report.largestMargin.name)
    }
    for failure in report.failures {
      lines.append("FAILED \(failure.name)")
      lines += failure.details.map { "  \($0)" }
    }
    if !report.failures.isEmpty {
      lines.append("Run one case alone: apus verify --seed \(report.options.seed) --case INDEX")
    }
    for (reason, count) in report.skipReasons.sorted(by: { $0.key < $1.key }) {
      lines.append("skipped \(count): \(reason)")
    }
    lines.append(report.closingLine)
    return lines.joined(separator: "\n")
  }
}

/// The suite's report as JSON.
struct VerifyReport: Codable, Sendable {
  /// One failed check.
  struct Failure: Codable, Sendable {
    var name: String
    var details: [String]
  }

  var backend: String
  var machine: MachineInfo
  var seed: UInt64
  var firstCase: Int
  var caseCount: Int
  var seconds: Double
  var passed: Int
  var failed: Int
  var skipped: Int
  var failures: [Failure]
  var skipReasons: [String: Int]
  /// Counts by axis and value.
  var coverage: [String: [String: Int]]
  /// Largest error relative to what was allowed.
  var largestMargin: Double

  init(_ report: SuiteReport, machine: MachineInfo, seconds: Double) {
    backend = report.backend
    self.machine = machine
    seed = report.options.seed
    firstCase = report.options.cases.lowerBound
    caseCount = report.options.cases.count
    self.seconds = seconds
    passed = report.passedCount
    failed = report.failedCount
    skipped = report.skippedCount
    failures = report.failures.map { Failure(name: $0.name, details: $0.details) }
    skipReasons = report.skipReasons
    coverage = report.coverage.counts
    largestMargin = report.largestMargin.value
  }
}
