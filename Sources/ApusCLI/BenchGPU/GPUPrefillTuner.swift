internal import Apus
internal import ApusCUDA
internal import ApusKernels
internal import Foundation

/// Measures every candidate configuration of dense prefill on one shape; the table of shipped
/// configurations is chosen by what it prints.
struct GPUPrefillTuner {
  /// Figures of one configuration on one shape.
  struct Result: Codable, Sendable {
    var tag: String
    var configuration: String
    var burstTeraflops: Double
    var sustainedTeraflops: Double
  }

  let session: GPUBenchSession
  let isThorough: Bool

  /// All candidates of a shape, the best sustained ones first.
  func measure(_ shape: GPUPrefillSuite.Shape) throws -> [Result] {
    let planned = try GPUPrefillSuite.plan(shape, on: session.backend)
    let problem = planned.problem
    let candidates = DensePrefill.candidates(
      for: problem, writesLSE: true, isThorough: isThorough)
    let launcher = session.backend.launcher
    try launcher.prepare(candidates.map(PrefillKernel.init), operation: "apus bench --tune")
    let arguments = try GPUPrefillSuite.arguments(shape, session)
    defer { session.dropTensors() }
    let counter = try session.output(.u8, [DensePrefill.workspaceByteCount])
    try session.clear(counter)
    var results: [Result] = []
    for candidate in candidates {
      guard
        let launch = DensePrefill.launch(
          problem, arguments, configuration: candidate,
          multiprocessorCount: session.device.properties.multiprocessorCount,
          counter: .pointer(UInt64(counter.address)))
      else { continue }
      let call: GPUCall = {
        try launcher.launch([launch], on: session.queue, operation: "apus bench --tune")
      }
      let burst = try session.timer.burst(call, repetitions: 7, rest: 0.25)
      guard let samples = GPUSamples(burst) else { continue }
      let sustained = try session.timer.sustained(
        call, estimate: samples.medianSeconds, halfSeconds: 0.15)
      results.append(
        Result(
          tag: shape.tag, configuration: candidate.symbol,
          burstTeraflops: Double(shape.flops) / samples.medianSeconds * 1e-12,
          sustainedTeraflops: Double(shape.flops) / sustained.seconds * 1e-12))
    }
    return results.sorted { $0.sustainedTeraflops > $1.sustainedTeraflops }
  }

  /// The results of all shapes as aligned text.
  static func table(_ results: [Result]) -> String {
    var table = TextTable([
      ("shape", .left), ("burst", .right), ("sustained", .right), ("configuration", .left),
    ])
    for result in results {
      table.add([
        result.tag, Format.fixed(result.burstTeraflops, 1),
        Format.fixed(result.sustainedTeraflops, 1), result.configuration,
      ])
    }
    return table.text()
  }
}
