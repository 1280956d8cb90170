import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusSimulator
import Synchronization
import Testing

/// Kernels whose warps work on their own: what little synchronisation they have, broken.
@MainActor @Suite struct OperatorMutationTests {
  /// A problem of one family, whose check runs kernels by `simulate`.
  struct Problem: Sendable, CustomStringConvertible {
    let description: String
    let run: @MainActor @Sendable (Target) throws -> Void
  }

  nonisolated static let problems = [
    Problem(description: "append") { _ = try AppendTestCase().check(target: $0) },
    Problem(description: "append, FP8 with dynamic scales") {
      var value = AppendTestCase()
      value.stored = .e4m3
      value.keyScaling = .dynamic
      value.valueScaling = .dynamic
      _ = try value.check(target: $0)
    },
    Problem(description: "general, splits") {
      var value = GeneralTestCase()
      value.kvLengths = [9, 40, 2]
      value.qoLengths = [1, 3, 1]
      value.splitSize = 16
      try value.check(target: $0)
    },
    Problem(description: "merge of two in place") { try MergeKernelTests.runInPlace(target: $0) },
    Problem(description: "rotation in place") { try RotaryKernelTests.runInPlace(target: $0) },
    Problem(description: "bit packing") { if $0 >= .sm90a { try PackBitsKernelTests.runSome() } },
    Problem(description: "merge of many") { try MergeKernelTests.runMany(target: $0) },
  ]

  /// What runs report, by kernel.
  private final class Notes: Sendable {
    let kernels = Mutex<[String: KernelIR]>([:])
    let errors = Mutex<[SimulationError]>([])
  }

  @Test(arguments: problems)
  func `a broken synchronisation is noticed`(_ problem: Problem) throws {
    for target in [Target.sm80, .sm90a] {
      let notes = Notes()
      let watch = SimulationHook(
        change: { kernel in
          notes.kernels.withLock { $0[kernel.symbol] = kernel }
          return kernel
        }, note: { errors in notes.errors.withLock { $0 += errors } })
      try SimulationHook.$current.withValue(watch) { try problem.run(target) }
      #expect(notes.errors.withLock { $0 } == [], "\(problem)")
      for (symbol, kernel) in notes.kernels.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
        let run = MutationRun(of: kernel, target: target, seeds: 0..<4) { mutant, seed in
          let found = Notes()
          let hook = SimulationHook(
            change: { $0.symbol == symbol ? mutant : $0 },
            note: { errors in found.errors.withLock { $0 += errors } }, seed: seed)
          // What a run leaves that was given up is wrong; only what it reports counts.
          withKnownIssue(isIntermittent: true) {
            try SimulationHook.$current.withValue(hook) { try problem.run(target) }
          }
          return MutationRun.Result(errors: found.errors.withLock { $0 }, isCorrect: true)
        }
        // Before Hopper only the merge in place synchronises at all.
        Mutations.expectNoticed(
          run, of: "\(problem), \(symbol), \(target)", least: target >= .sm90a ? 1 : 0)
      }
    }
  }

  @Test func `no other kernel of these families synchronises`() throws {
    let families: [KernelFamily] = [.stream, .merge, .append, .rope, .packBits, .general]
    for row in KernelCatalog.all where families.contains(row.family) {
      for target in [Target.sm80, .sm90a] where row.targets.contains(target) {
        let operations = KernelMutation.all(of: try row.build(for: target)).map(\.operation)
        let dependency = target >= .sm90a && row.family != .stream ? ["griddepcontrol.wait"] : []
        let meeting = row.symbol.lowercased().contains("pair_") ? ["bar.warp.sync"] : []
        #expect(operations == dependency + meeting, "\(row.symbol) \(target): \(operations)")
      }
    }
  }
}
