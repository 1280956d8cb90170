internal import ArgumentParser

/// `apus bench gpu-host`.
struct GPUHostBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gpu-host",
    abstract: "Measure the host time of plans and runs for a GPU, without one.",
    discussion: """
      Calls go to a driver that does nothing: what is measured is what this library adds to the \
      driver's own time.
      """)

  @Option(help: "Write the result as JSON; - is standard output, which then carries nothing else.")
  var json: String?

  func run() throws {
    let results = try GPUHostSuite().results()
    if let json { try GPUBenchOptions.write(results, to: json) }
    if json == "-" { return }
    var table = TextTable([
      ("call", .left), ("µs", .right), ("least", .right), ("goal", .right),
    ])
    for result in results {
      table.add([
        result.name, Format.fixed(result.microseconds, 2),
        Format.fixed(result.leastMicroseconds, 2),
        result.goalMicroseconds.map { Format.fixed($0, 0) } ?? "",
      ])
    }
    print(table.text())
  }
}
