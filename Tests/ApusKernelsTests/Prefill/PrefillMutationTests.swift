import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusSimulator
import Testing

/// Every wait, fence, arrival, barrier and parity of the kernel, broken one at a time.
@Suite struct PrefillMutationTests {
  /// Each on long and on short keys, several tiles per block or cluster: with long ones the rings of
  /// K and V hold the producer back so far that other waits never have to.
  static var cases: [[PrefillCase]] {
    let single = DensePrefillConfiguration(
      .bf16, headDim: 64, isCausal: true, tileQ: 128, tileKV: 32)
    let pair = DensePrefillConfiguration(
      .bf16, headDim: 64, tileQ: 64, tileKV: 32, clusterSize: 2, queriesInRegisters: false)
    return [
      [110, 20].map { keys in
        PrefillCase(
          configuration: single, qoLength: keys == 110 ? 140 : 600, kvLength: keys,
          multiprocessors: 1,
          values: { operand, row, _, column, value in
            operand == .v && row == keys - 20 && column == 3 ? .nan : value
          })
      },
      [70, 20].map { keys in
        PrefillCase(configuration: pair, qoLength: 800, kvLength: keys, multiprocessors: 2)
      },
    ]
  }

  /// Mutants that may survive, as operation, change and file: how many, and why.
  static let harmless: Mutations.Harmless = [
    "bar.sync removed PrefillKernel.swift": (
      1, "in a cluster its barrier follows, which does the same"
    ),
    "bar.warp.sync removed Consumer.swift": (
      1,
      "ldmatrix and the load before it are one instruction for all lanes, done before the arrival"
    ),
    "bar.warp.sync removed HiddenValues.swift": (
      1, "stmatrix is one instruction for all lanes; a warp's stores to shared memory keep order"
    ),
    "wgmma.fence removed Consumer.swift": (
      2, "in a step nothing writes registers between its two fences; assemblers insert the second"
    ),
    "mbarrier.wait removed Producer.swift": (
      1, "a tile's first K: its stage was freed before the queries or the V last waited for"
    ),
  ]

  @Test(arguments: [0, 1])
  func `a broken synchronisation is noticed`(_ index: Int) throws {
    let cases = Self.cases[index]
    let expectations = try cases.map { try $0.expectation() }
    let configuration = cases[0].configuration
    let kernel = try PrefillKernel(configuration).build()
    let run = MutationRun(of: kernel, target: .sm90a, seeds: 0..<4) { mutant, seed in
      for (c, expectation) in zip(cases, expectations) {
        guard let found = try? c.simulate(mutant, schedule: seed) else { break }
        let isCorrect = c.deviations(of: found, from: expectation).isEmpty
        if !found.errors.isEmpty || !isCorrect {
          return MutationRun.Result(errors: found.errors, isCorrect: isCorrect)
        }
      }
      return MutationRun.Result(errors: [], isCorrect: true)
    }
    Mutations.expectNoticed(
      run, of: "\(configuration)", least: 100, harmless: Self.harmless)
    #expect(20 * run.survivors.count <= run.count)
  }
}
