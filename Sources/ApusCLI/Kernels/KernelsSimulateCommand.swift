import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser

/// `apus kernels simulate`.
struct KernelsSimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Run kernels on small problems in the strict simulator.",
    discussion: """
      The simulator executes the IR on the CPU and reports accesses out of bounds, reads of what \
      nothing wrote, races, missing waits and fences, divergence and deadlock with the Swift line, \
      and compares the results. Each seed is another interleaving of warps and another order of \
      asynchronous completions. Findings make the exit code 1.
      """)

  @Argument(help: "Symbols of `apus kernels list`; all rows with a sample for none.")
  var symbols: [String] = []

  @OptionGroup var selection: CatalogueOptions

  @Option(help: "The first seed, of the numbers and of the interleaving.")
  var seed: UInt64 = 1

  @Option(help: "Seeds to run, one after another.")
  var runs = 1

  @Flag(help: "Print JSON.")
  var json = false

  mutating func validate() throws {
    guard runs >= 1 else { throw ValidationError("--runs must be at least 1; found \(runs).") }
  }

  func run() throws {
    let operation = "apus kernels simulate"
    let rows = try selection.rows(symbols, operation: operation)
    var results: [SimulationResult] = []
    for row in rows {
      guard let sampled = row as? any SampledKernel else {
        if symbols.isEmpty { continue }
        throw ArgumentError(
          operation: operation, "symbol must be a kernel with a sample problem", found: row.symbol,
          remedy: "The tests of its family simulate it.")
      }
      let target = try selection.target(of: row, operation: operation)
      let ir = try row.build(for: target)
      for offset in 0..<UInt64(runs) {
        results.append(SampleRun.run(sampled, ir: ir, target: target, seed: seed &+ offset))
      }
    }
    if json {
      try Output.json(results)
    } else {
      print(SimulationResult.text(results))
      if symbols.isEmpty {
        print("\(rows.count - Set(results.map(\.symbol)).count) rows have no sample problem")
      }
    }
    if results.contains(where: { !$0.findings.isEmpty }) { throw ExitCode.failure }
  }
}

/// One run of one kernel, as `apus kernels simulate` prints it.
struct SimulationResult: Codable, Sendable, Hashable {
  var symbol: String
  var target: String
  var seed: UInt64
  /// Shapes of the problem.
  var problem: String
  /// IR nodes executed, each once per warp.
  var instructionCount: Int
  var seconds: Double
  /// Violations and wrong results, a line each.
  var findings: [String]

  /// The table, then the findings.
  static func text(_ results: [SimulationResult]) -> String {
    var table = TextTable([
      ("symbol", .left), ("target", .left), ("seed", .right), ("warp instructions", .right),
      ("time", .right), ("findings", .right), ("problem", .left),
    ])
    for result in results {
      table.add([
        result.symbol, result.target, "\(result.seed)", Format.grouped(result.instructionCount),
        Format.seconds(result.seconds), "\(result.findings.count)", result.problem,
      ])
    }
    let findings = results.flatMap { result in
      result.findings.map { "\(result.symbol) \(result.target), seed \(result.seed): \($0)" }
    }
    return ([table.text()] + findings).joined(separator: "\n")
  }
}
