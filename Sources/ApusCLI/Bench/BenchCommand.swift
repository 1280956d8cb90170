internal import Apus
internal import ApusCPU
internal import ArgumentParser
internal import Foundation

/// `apus bench`: times the operators of the CPU back end and stores the figures.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "suite",
    abstract: "Measure the operators on this machine.",
    discussion: """
      Prints time, GB/s and GFLOP/s of every case of a suite, and what fraction of the read \
      bandwidth and multiply-add peak measured in the same run they are.

      decode   single and batch decode over padded and paged caches
      prefill  512 to 8k tokens, causal and full
      append   a few new tokens against long contexts
      mla      latent decode
      ops      merge, cache append, rotation
      cpu      all of them
      """)

  @Argument(help: "The suite.")
  var suite: BenchSuite

  @Flag(help: "A small subset with short repetitions (under a minute), for orientation only.")
  var quick = false

  @Option(help: "Write the result as JSON; - is standard output, which then carries nothing else.")
  var json: String?

  @Flag(help: "List the cases and what would be skipped, and run nothing.")
  var list = false

  @Option(help: "Keep the cases whose name holds this text; may be given several times.")
  var filter: [String] = []

  @OptionGroup var execution: BackendOptions

  @Option(help: "Seconds of timed calls per case.")
  var seconds: Double?

  @Option(help: "Exactly this many timed calls per case.")
  var repetitions: Int?

  @Option(help: "Commit to store; git is asked by default.")
  var commit: String?

  @Flag(help: "Measure case names read from standard input, one JSON line each.")
  var serve = false

  func validate() throws {
    if let seconds, !(seconds >= 0 && seconds <= 3600) {
      throw ValidationError("bench: --seconds must be in 0…3600; found \(seconds).")
    }
    if let repetitions, !(1...1_000_000).contains(repetitions) {
      throw ValidationError("bench: --repetitions must be in 1…1000000; found \(repetitions).")
    }
  }

  func run() throws {
    let cases = suite.cases(quick: quick, filters: filter)
    guard !cases.isEmpty else { throw BenchError.noCases(suite: suite.rawValue, filters: filter) }
    if list { return try printList(cases) }
    BenchMemory.keepFreed()
    var runner = BenchRunner(
      backend: try execution.makeBackend(), policy: policy,
      probeByteCount: quick ? 128 << 20 : 256 << 20)
    if serve {
      var server = BenchServer(runner: runner, commit: commit ?? BenchCommit.current)
      return server.serve()
    }
    let progress = Progress()
    let measured = try runner.run(cases) { index, item in
      progress.show("[\(index + 1)/\(cases.count)] \(item.name)")
    }
    progress.clear()
    let report = BenchReport(
      suite: suite, isQuick: quick, date: ISO8601DateFormatter().string(from: Date()),
      commit: commit ?? BenchCommit.current, machine: .current, backend: runner.backend.name,
      instructionSet: runner.backend.engine.instructionSet.rawValue,
      threads: runner.backend.engine.threadCount, limits: measured.limits, policy: policy,
      method: BenchReport.methodText, cases: measured.results, skipped: measured.skipped)
    if let json { try write(try Output.jsonText(report) + "\n", to: json) }
    if json != "-" { print(BenchTable(report: report).text) }
  }

  /// Repetitions of this run.
  var policy: BenchPolicy {
    var policy = quick ? BenchPolicy.quick : BenchPolicy()
    if let seconds { policy.secondsPerCase = seconds }
    if let repetitions {
      policy.minimumRepetitions = repetitions
      policy.maximumRepetitions = repetitions
    }
    return policy
  }

  private func printList(_ cases: [BenchCase]) throws {
    let memory = ProcessInfo.processInfo.physicalMemory
    let listings = cases.map { BenchListing($0, physicalMemory: memory) }
    if let json { return try write(try Output.jsonText(listings) + "\n", to: json) }
    for listing in listings {
      print(listing.name + (listing.skipReason.map { "  (skipped: \($0))" } ?? ""))
    }
  }

  private func write(_ text: String, to path: String) throws {
    if path == "-" { return FileHandle.standardOutput.write(Data(text.utf8)) }
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
      throw BenchError.unwritable(path: path, text: error.localizedDescription)
    }
  }
}
