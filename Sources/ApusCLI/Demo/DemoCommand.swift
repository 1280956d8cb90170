import Apus
import ApusCPU
import ArgumentParser
import Foundation

/// `apus demo`: the main job on a real model's queries, keys and values.
struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Prefill, append and decode over a real model's Q/K/V, checked against float64.",
    discussion: """
      Reads the example of the package (all-MiniLM-L6-v2 over the first 512 tokens of the Apache \
      License), runs each operator in several types, and prints its speed, its fraction of this \
      machine's measured limits and its error. Exits with 1 when an error exceeds its bound.
      """)

  @Option(help: "Data file (default: \(ExampleData.relativePath) of the package).")
  var data: String?

  @Option(help: "Requests of the decode batch.")
  var requests = 256

  @Option(help: "Timed runs of each operator and layer.")
  var repetitions = 9

  @OptionGroup var backendOptions: BackendOptions

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard (1...4096).contains(requests) else {
      throw ValidationError("--requests must be in 1…4096; found \(requests).")
    }
    guard (1...10_000).contains(repetitions) else {
      throw ValidationError("--repetitions must be in 1…10000; found \(repetitions).")
    }
  }

  func run() throws {
    let report = try report()
    if json { try Output.json(report) } else { print(report.text) }
    if !report.isWithinBounds { throw ExitCode.failure }
  }

  /// Runs the demo.
  func report() throws -> DemoReport {
    let example = try ExampleData(path: try ExampleData.locate(data))
    let backend = try backendOptions.makeBackend()
    let progress = Progress()
    defer { progress.clear() }
    progress.show("measuring this machine's limits …")
    let limits = LimitsReport(backend.engine.measureLimits())
    let session = DemoSession(
      example, backend: backend, limits: limits, requestCount: requests, repetitions: repetitions,
      progress: progress)
    let findings = try session.run()
    let layers = example.layers.map(\.name).joined(separator: " and ")
    let tokens = session.lengths.reduce(0, +)
    return DemoReport(
      machine: .current, instructionSet: backend.engine.instructionSet.rawValue,
      limits: limits, data: example.metadata,
      dataShape: "\(layers): \(example.tokenCount) tokens, \(example.headCount) heads of "
        + "\(example.headDim)",
      decodeShape: "decode batch: \(session.lengths.count) requests of "
        + "\(session.lengths.first ?? 0) to \(session.lengths.last ?? 0) tokens, "
        + "\(Format.grouped(tokens)) in all",
      rows: findings.rows, storage: findings.storage)
  }
}
