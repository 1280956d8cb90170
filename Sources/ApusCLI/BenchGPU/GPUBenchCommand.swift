internal import Apus
internal import ApusCUDA
internal import ArgumentParser
internal import Foundation

/// `apus bench gpu-prefill` and its sisters: times the operators of the CUDA back end.
struct GPUBenchOptions: ParsableArguments {
  @Option(help: "Position of the device.")
  var device = 0

  @Option(help: "Write the result as JSON; - is standard output, which then carries nothing else.")
  var json: String?

  @Option(help: "Keep the cases whose name holds this text; may be given several times.")
  var filter: [String] = []

  @Flag(help: "List the cases and run nothing.")
  var list = false

  @Option(help: "Commit to store; git is asked by default.")
  var commit: String?

  /// Runs the cases of a suite that the filters leave, and prints and stores their figures.
  func run(suite: String, _ all: [GPUCase]) throws {
    let cases = all.filter { keeps($0.name) }
    guard !cases.isEmpty else { throw GPUBenchError.noCases(suite: suite, filters: filter) }
    if list { return cases.forEach { print($0.name) } }
    let session = try GPUBenchSession(device: device)
    let progress = Progress()
    // In memory that nothing used before, like the small cases.
    let limits = try session.limits()
    var found = [GPUBenchResult?](repeating: nil, count: cases.count)
    var failures: [BenchSkip] = []
    // Memory that a large case gave back is a worse place for a small one than memory that nothing used:
    // up to 14 % of its rate.
    let order = cases.indices.sorted {
      (cases[$0].residentByteCount, $0) < (cases[$1].residentByteCount, $1)
    }
    for (count, index) in order.enumerated() {
      let item = cases[index]
      progress.show("[\(count + 1)/\(cases.count)] \(item.name)")
      do {
        found[index] = try session.measure(item)
      } catch let error as ApusError where error.isRefusal {
        // What has no kernel is part of the result.
        failures.append(BenchSkip(name: item.name, reason: "\(error)"))
      } catch let error as CUDAError where error.code == GPUBenchSession.outOfMemory {
        failures.append(BenchSkip(name: item.name, reason: "\(error)"))
      }
    }
    progress.clear()
    let report = GPUBenchReport(
      suite: suite, isQuick: cases.count < all.count,
      date: ISO8601DateFormatter().string(from: Date()),
      commit: commit ?? BenchCommit.current, device: GPUDeviceInfo(session.device),
      method: GPUBenchReport.methodText, limits: limits,
      cases: found.compactMap { $0 }, skipped: failures)
    if let json { try Self.write(report, to: json) }
    if json != "-" { print(report.table) }
  }
}

extension GPUBenchOptions {
  /// Whether the filters leave a case.
  func keeps(_ name: String) -> Bool {
    filter.isEmpty || filter.contains { name.contains($0) }
  }

  /// Writes JSON to a file, or to standard output for `-`.
  static func write(_ value: some Encodable, to path: String) throws {
    let text = Data((try Output.jsonText(value) + "\n").utf8)
    if path == "-" { return FileHandle.standardOutput.write(text) }
    do {
      try text.write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
      throw BenchError.unwritable(path: path, text: error.localizedDescription)
    }
  }
}

extension ApusError {
  /// Whether the back end has no implementation.
  var isRefusal: Bool {
    if case .unsupported = self { true } else { false }
  }
}

/// `apus bench gpu-prefill`.
struct GPUPrefillBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gpu-prefill", abstract: "Measure dense prefill on a GPU.")
  @OptionGroup var options: GPUBenchOptions

  @Flag(help: "Measure every candidate configuration instead of the one that would be chosen.")
  var tune = false

  @Flag(help: "With --tune: all combinations, hundreds a shape.")
  var thorough = false

  func run() throws {
    if tune { return try runTuner() }
    try options.run(suite: "gpu-prefill", GPUPrefillSuite.shapes.map(GPUPrefillSuite.item))
  }
}

extension GPUPrefillBench {
  private func runTuner() throws {
    let shapes = GPUPrefillSuite.shapes.filter { shape in
      options.keeps(GPUPrefillSuite.item(shape).name)
    }
    guard !shapes.isEmpty else {
      throw GPUBenchError.noCases(suite: "gpu-prefill", filters: options.filter)
    }
    let tuner = GPUPrefillTuner(
      session: try GPUBenchSession(device: options.device), isThorough: thorough)
    var results: [GPUPrefillTuner.Result] = []
    for shape in shapes { results += try tuner.measure(shape) }
    if let json = options.json { try GPUBenchOptions.write(results, to: json) }
    if options.json != "-" { print(GPUPrefillTuner.table(results)) }
  }
}

/// `apus bench gpu-ops`.
struct GPUOperatorBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gpu-ops", abstract: "Measure merge, append and rotation on a GPU.")
  @OptionGroup var options: GPUBenchOptions
  func run() throws { try options.run(suite: "gpu-ops", GPUOperatorSuite.items) }
}
