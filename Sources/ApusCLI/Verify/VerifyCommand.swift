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

      Back ends: cpu; simulator, the GPU kernels executed on the CPU; cuda or cuda:N, a GPU, with \
      operands copied there and back. The last two do not support everything: a case that they \
      have no kernel for is simplified, feature by feature, until they do, and skipped with the \
      reason where that does not help. Skipped cases never count as passed.
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

  @Option(help: "Draw cases of one family: prefill, decode, mla, merge, append, rope, packbits.")
  var family: CaseFamily?

  @Option(help: "Size of the cases: small or full (default: small for the simulator, else full).")
  var size: CaseSize?

  @Option(
    name: .customLong("per-configuration"),
    help: """
      Cases that share compiled kernels: types and dimensions are drawn once for so many (default: \
      16 for cuda, else 1: each case by itself).
      """)
  var casesPerConfiguration: Int?

  @Flag(help: "Run cases as they are drawn, and skip those that the back end does not support.")
  var noSimplify = false

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
    if let casesPerConfiguration, !(1...1000).contains(casesPerConfiguration) {
      throw ValidationError(
        "--per-configuration must be in 1…1000; found \(casesPerConfiguration).")
    }
    if let workers, !(1...1024).contains(workers) {
      throw ValidationError("--workers must be in 1…1024; found \(workers).")
    }
  }

  func run() throws {
    let host = try backendOptions.makeHostBackend()
    let progress = Progress()
    let clock = ContinuousClock()
    let start = clock.now
    let suite = Suite(
      backend: host.backend, model: host.model, options: options, kernels: host.kernels)
    let report = suite.run { done, total in progress.show("\(done) of \(total) checks") }
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

  private var isOnGPU: Bool {
    if case .cuda = backendOptions.backend { true } else { false }
  }

  /// What the suite shall run.
  var options: Suite.Options {
    Suite.Options(
      seed: seed, cases: caseIndex.map { $0..<$0 + 1 } ?? 0..<cases,
      size: size ?? (backendOptions.backend == .simulator ? .small : .full), family: family,
      seeksSupport: backendOptions.backend != .cpu && !noSimplify,
      casesPerConfiguration: casesPerConfiguration ?? (isOnGPU && !noSimplify ? 16 : 1),
      propertyRepetitions: laws ? 4 : 0, makesMalformedCalls: laws,
      workers: workers ?? ProcessInfo.processInfo.activeProcessorCount)
  }

  /// Coverage, every failure in full with how to run it alone, and the closing line.
  static func text(of report: SuiteReport) -> String {
    var lines = ["conformance of \(report.backend), seed \(report.options.seed)"]
    if report.options.cases.count > 1, report.coverage.caseCount > 0 {
      lines.append(report.coverage.metText)
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
      let options = report.options
      let backend = report.backend == "cpu" ? "" : " --backend \(report.backend)"
      let family = options.family.map { " --family \($0.rawValue)" } ?? ""
      let size = options.size == .full ? "" : " --size \(options.size.rawValue)"
      lines.append(
        "Run one case alone: apus verify\(backend)\(family)\(size) --seed \(options.seed) "
          + "--case INDEX")
    }
    lines += kernelLines(report.kernelCases)
    if let compilation = report.compilation {
      lines.append(
        "compiled \(compilation.kernelCount) kernels in \(Format.fixed(compilation.seconds, 1)) s; "
          + "types and dimensions are drawn once for \(report.options.casesPerConfiguration) cases")
    }
    for (reason, count) in report.skipReasons.sorted(by: { $0.key < $1.key }) {
      lines.append("skipped \(count): \(reason)")
    }
    lines.append(report.closingLine)
    return lines.joined(separator: "\n")
  }
}

extension VerifyCommand {
  /// Kernels that are listed one by one; more are summed up.
  private static let listedKernels = 64

  /// How many cases ran each kernel.
  static func kernelLines(_ cases: [String: Int]) -> [String] {
    guard let least = cases.values.min() else { return [] }
    let summary = "kernels: \(cases.count) configurations ran, each in at least \(least) cases"
    guard cases.count <= listedKernels else {
      let rare = cases.values.count { $0 < 10 }
      return ["\(summary), \(rare) of them in fewer than 10"]
    }
    return cases.sorted { $0.key < $1.key }.map { "kernel \($0.key): \($0.value) cases" }
      + [summary]
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
  /// Cases that ran each kernel.
  var kernelCases: [String: Int]
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
    kernelCases = report.kernelCases
    coverage = report.coverage.counts
    largestMargin = report.largestMargin.value
  }
}
