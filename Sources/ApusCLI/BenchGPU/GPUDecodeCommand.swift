internal import ArgumentParser
internal import Foundation

/// `apus bench gpu-decode`.
struct GPUDecodeBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gpu-decode", abstract: "Measure batch decode on a GPU.")
  @OptionGroup var options: GPUBenchOptions

  @Flag(help: "Measure every configuration that fits a shape beside the one that would be chosen.")
  var tune = false

  @Option(help: "With --tune: measure this change beside the choice; may be given several times.")
  var variant: [String] = []

  func run() throws {
    if tune || !variant.isEmpty { return try runTuner() }
    let shapes = GPUDecodeSuite.peerShapes + GPUDecodeSuite.otherShapes
    try options.run(suite: "gpu-decode", shapes.map(GPUDecodeSuite.item))
  }

  /// The tuned shapes, or with filters those of all suites that they keep.
  private func runTuner() throws {
    let all =
      options.filter.isEmpty
      ? GPUDecodeSuite.tunedShapes
      : GPUDecodeSuite.tunedShapes + GPUDecodeSuite.peerShapes + GPUDecodeSuite.otherShapes
    var names: Set<String> = []
    let shapes = all.filter { shape in
      let name = GPUDecodeSuite.item(shape).name
      return options.keeps(name) && names.insert(name).inserted
    }
    guard !shapes.isEmpty else {
      throw GPUBenchError.noCases(suite: "gpu-decode", filters: options.filter)
    }
    if options.list { return shapes.forEach { print(GPUDecodeSuite.item($0).name) } }
    let session = try GPUBenchSession(device: options.device)
    let tuner = GPUDecodeTuner(session: session, variants: variant)
    let progress = Progress()
    var results: [GPUDecodeTuner.Result] = []
    var skipped: [BenchSkip] = []
    for (index, shape) in shapes.enumerated() {
      progress.show("[\(index + 1)/\(shapes.count)] \(shape.tag) \(shape.kvType)")
      let measured = try tuner.measure(shape)
      results += measured.results
      skipped += measured.skipped
    }
    progress.clear()
    let report = GPUDecodeTuner.Report(
      date: ISO8601DateFormatter().string(from: Date()),
      commit: options.commit ?? BenchCommit.current, device: GPUDeviceInfo(session.device),
      limits: try session.limits(), results: results,
      skipped: skipped)
    if let json = options.json { try GPUBenchOptions.write(report, to: json) }
    if options.json != "-" { print(GPUDecodeTuner.table(results, skipped)) }
  }
}
