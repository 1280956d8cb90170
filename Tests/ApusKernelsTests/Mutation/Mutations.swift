import ApusIR
import ApusSimulator
import Foundation
import Testing

/// What tests of mutants share. A mutant that neither the verifier nor the simulator reports must be
/// listed with the proof that it is harmless.
enum Mutations {
  /// Why survivors do no harm, by operation, change and file, and how many of them there may be.
  typealias Harmless = [String: (limit: Int, reason: String)]

  /// Whether every listed configuration runs, as `Scripts/mutations` asks, and not one of each
  /// structure.
  static var runsAll: Bool { ProcessInfo.processInfo.environment["APUS_MUTATIONS"] == "all" }

  /// `mbarrier.wait removed Producer.swift`: what survivors are listed by.
  static func name(_ mutation: KernelMutation) -> String {
    "\(mutation.operation) \(mutation.change) \(mutation.location.file)"
  }

  /// Requires that all mutants but the listed ones were reported, and prints a line.
  ///
  /// - Parameter least: mutants that there are at least: the kernel synchronises at all.
  static func expectNoticed(
    _ run: MutationRun, of kernel: String, least: Int, harmless: Harmless = [:],
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    for mutation in run.wrongResults {
      Issue.record(
        "\(kernel): wrong results unnoticed: \(mutation)", sourceLocation: sourceLocation)
    }
    var counts: [String: Int] = [:]
    for mutation in run.survivors {
      counts[name(mutation), default: 0] += 1
      let limit = harmless[name(mutation)]?.limit ?? 0
      #expect(
        counts[name(mutation), default: 0] <= limit, "\(kernel): survivor: \(mutation)",
        sourceLocation: sourceLocation)
    }
    print("mutants of \(kernel): \(run.count), \(run.survivors.count) survive")
    #expect(run.count >= least, "\(kernel): \(run.count) mutants", sourceLocation: sourceLocation)
  }
}
