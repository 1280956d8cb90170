import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

/// Configurations beside the chosen one: what `apus bench gpu-decode --tune` measures is right before
/// it is fast.
@Suite struct DecodeVariantTests {
  private func problem(batch: Int, keys: Int, heads: (Int, Int)) -> AttentionProblem {
    let pages = (keys + 15) / 16
    return AttentionProblem(
      shape: AttentionShape(qoHeadCount: heads.0, kvHeadCount: heads.1, headDimQK: 128),
      types: AttentionTypes(q: .bf16), qoIndptr: RaggedIndptr(uniform: 1, batch: batch),
      geometry: .paged(
        PageTable(
          pageSize: 16, indptr: RaggedIndptr(uniform: pages, batch: batch),
          indices: [Int32](repeating: 0, count: pages * batch),
          lastPageLength: [Int32](repeating: Int32((keys - 1) % 16 + 1), count: batch))))
  }

  /// Rows of many short requests, of one long one, and of both.
  private static let batches: [(lengths: [Int], kvHeads: Int)] = [
    ([0, 1, 17, 200, 40], 8), ([700], 1), ([33, 16, 1100, 5, 64, 48, 80, 2], 8),
  ]

  /// Each change with one of the batches, in turns.
  private static let turns = DecodeTuning.all.indices.map { $0 % batches.count }

  @Test(arguments: zip(DecodeTuning.all, turns))
  func `every change is right where it fits`(_ tuning: DecodeTuning, _ batch: Int) throws {
    var value = DecodeCase()
    value.tuning = tuning
    (value.kvLengths, value.kvHeads) = Self.batches[batch]
    value.qoHeads = value.kvHeads == 1 ? 4 : 8
    value.blocks = 7
    value.types = AttentionTypes(q: .bf16, kv: batch == 2 ? .e4m3 : .bf16)
    value.placement = batch == 2 ? .combinedPages(64) : .pages(16)
    let outcome = try value.run(repeats: 2)
    guard outcome.plan != nil else { return }
    #expect(outcome.complaints == [], "\(tuning), batch \(batch)")
  }

  @Test func `candidates begin with the choice and are all different`() {
    for (batch, keys, heads) in [(1, 1024, (32, 8)), (1, 32768, (32, 32)), (128, 1024, (32, 32))] {
      let found = DecodeTuning.candidates(
        for: problem(batch: batch, keys: keys, heads: heads), target: .sm90a,
        multiprocessorCount: 132)
      #expect(found.first?.tuning == .chosen)
      #expect(Set(found.map(\.tuning.name)).count == found.count)
      #expect(found.contains { $0.plan.kernel.lookahead == .window })
      #expect(found.contains { $0.plan.kernel.loader == .gather }, "the path of sm_80")
      for candidate in found {
        #expect(throws: Never.self, "\(candidate.tuning)") {
          let kernel = try candidate.plan.kernel.build(for: .sm90a)
          #expect(kernel.sharedByteCount <= Target.sm90a.maxSharedBytesPerBlock)
        }
      }
    }
  }

  @Test func `a change that does not fit has no plan`() {
    let problem = problem(batch: 128, keys: 1024, heads: (32, 8))
    func plan(_ tuning: DecodeTuning) -> DecodePlan? {
      DecodeLaunch.plan(problem, target: .sm90a, multiprocessorCount: 132, tuning: tuning)
    }
    #expect(plan(DecodeTuning("clusters", mode: .cluster(8))) == nil)
    #expect(plan(DecodeTuning("stages", stages: 9)) == nil, "four do not fit")
    #expect(plan(DecodeTuning("warps", warps: 6)) == nil)
    #expect(plan(DecodeTuning("whole", keepsRowsWhole: true))?.schedule.slotCount == 0)
  }

  @Test(arguments: [1, 2, 3], [ElementType.bf16, .e4m3])
  func `windows cross items of every length`(_ blocks: Int, _ cache: ElementType) throws {
    for mode in [DecodeMode.tokens, .heads] {
      var value = DecodeCase()
      // Items of no step, of fewer than the ring, of one window and of several.
      value.kvLengths = [0, 16, 48, 64, 1, 0, 33 * 16, 32 * 16 + 5, 15, 70 * 16]
      value.kvHeads = 8
      value.qoHeads = 8
      value.headDim = 32
      value.blocks = blocks
      value.types = AttentionTypes(q: .bf16, kv: cache)
      value.tuning = DecodeTuning(
        "window", mode: mode, lookahead: .window, prefetchesQueries: true)
      let outcome = try value.run(repeats: 2)
      #expect(outcome.complaints == [], "\(mode)")
      #expect(outcome.plan?.kernel.lookahead == .window)
    }
  }
}
