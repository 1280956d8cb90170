package import ApusIR

/// What became of the mutants of one kernel.
package struct MutationRun: Sendable {
  /// One run of a mutant.
  package struct Result: Sendable {
    /// What the simulator reported.
    package var errors: [SimulationError]
    /// Whether the outputs are right.
    package var isCorrect: Bool

    /// A result.
    package init(errors: [SimulationError], isCorrect: Bool) {
      self.errors = errors
      self.isCorrect = isCorrect
    }
  }

  /// A mutant that was noticed, with the words that noticed it.
  package struct Caught: Sendable {
    /// What was changed.
    package var mutation: KernelMutation
    /// The verifier's diagnostic, if it objects.
    package var diagnostic: Diagnostic?
    /// The simulator's report for the first seed that shows one.
    package var error: SimulationError?
  }

  /// Noticed by the verifier or the simulator.
  package private(set) var caught: [Caught] = []
  /// Noticed by neither, but the results are wrong.
  package private(set) var wrongResults: [KernelMutation] = []
  /// Noticed by neither, with right results for every seed.
  package private(set) var survivors: [KernelMutation] = []

  /// All mutants.
  package var count: Int { caught.count + wrongResults.count + survivors.count }

  /// Runs every mutant of a kernel until the simulator objects, once for each seed.
  ///
  /// - Parameter run: launches a kernel in a fresh simulator with the seed and compares its outputs.
  package init(
    of kernel: KernelIR, target: Target, seeds: Range<UInt64>,
    run: (_ kernel: KernelIR, _ seed: UInt64) -> Result
  ) {
    for mutation in KernelMutation.all(of: kernel) {
      let diagnostic = Verifier.verify(mutation.kernel, target: target).first
      var error: SimulationError?
      var isCorrect = true
      // What the verifier refuses is never run.
      for seed in diagnostic == nil ? seeds : seeds.lowerBound..<seeds.lowerBound {
        let result = run(mutation.kernel, seed)
        isCorrect = isCorrect && result.isCorrect
        error = result.errors.first
        if error != nil { break }
      }
      if diagnostic != nil || error != nil {
        caught.append(Caught(mutation: mutation, diagnostic: diagnostic, error: error))
      } else if !isCorrect {
        wrongResults.append(mutation)
      } else {
        survivors.append(mutation)
      }
    }
  }
}
