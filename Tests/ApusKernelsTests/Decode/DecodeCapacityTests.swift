import ApusCore
import ApusIR
import ApusKernels
import ApusNumerics
import ApusTestSupport
import Testing

/// Plans with a capacity, and updates of their lists.
@Suite struct DecodeCapacityTests {
  /// Lists of one batch after another, each within the capacity: shorter, longer, without requests,
  /// without keys.
  static let history = [
    [40, 0, 90], [160, 160, 160, 160], [], [1], [0, 0, 0, 0], [160, 0, 17, 16],
  ]

  @Test(arguments: [
    DecodeCase.Placement.pages(16), .blockTable(32), .pages(1), .padded, .ragged,
  ])
  func `an updated plan computes the new batch`(placement: DecodeCase.Placement) throws {
    for (count, lengths) in [[40, 0, 90], [160, 1, 33, 120], [70], [0, 16, 0, 15]].enumerated() {
      var test = DecodeCase()
      test.placement = placement
      test.kvLengths = lengths
      // Tensor maps of padded caches are those of the whole capacity.
      if placement == .padded {
        test.kvLengths += [Int](repeating: 0, count: 4 - lengths.count)
        let most = test.kvLengths.max() ?? 0
        test.earlierLengths = [[most, 0, 0, 1], [most, most, most, most]]
      } else {
        test.earlierLengths = Array(Self.history.prefix(count + 2))
      }
      test.capacity = PlanCapacity(
        batch: 4, keysPerRequest: placement == .padded ? (test.kvLengths.max() ?? 0) + 3 : 160)
      test.blocks = 5
      let outcome = try test.run(repeats: count == 1 ? 2 : 1)
      #expect(outcome.complaints == [], "\(placement) \(lengths)")
    }
  }

  @Test(arguments: [1, 2, 3])
  func `requests of several query tokens are updated`(queries: Int) throws {
    var test = DecodeCase()
    test.mask = .causal
    test.kvLengths = [64, 9, 200]
    test.qoLengths = [queries, queries, queries]
    test.earlierLengths = [[7, 100], [200, 200, 200]]
    test.capacity = PlanCapacity(batch: 3, queriesPerRequest: queries, keysPerRequest: 200)
    #expect(try test.run().complaints == [])
  }

  @Test func `splits of a fixed size and windows are updated`() throws {
    var test = DecodeCase()
    test.kvLengths = [64, 9, 200]
    test.earlierLengths = [[7, 100], [200, 200, 200]]
    test.capacity = PlanCapacity(batch: 3, keysPerRequest: 200)
    test.options.splitSize = 32
    #expect(try test.run(repeats: 2).complaints == [])
    // Room for many splits is not copied.
    test.capacity = PlanCapacity(batch: 3, keysPerRequest: 24_000)
    let outcome = try test.run()
    #expect(outcome.complaints == [])
    #expect(outcome.plan?.usedRanges.count == 2)
    test.capacity = PlanCapacity(batch: 3, keysPerRequest: 200)
    test.options = ExecutionOptions(disablesSplitKV: true)
    #expect(try test.run().complaints == [])
    test.options = ExecutionOptions()
    test.mask = AttentionMask(isCausal: true, windowLeft: 30)
    #expect(try test.run().complaints == [])
  }

  @Test func `heads beside each other, ALiBi and other GPUs are updated`() throws {
    var test = DecodeCase()
    test.headDim = 64
    test.qoHeads = 16
    test.kvHeads = 8
    test.kvLengths = (0..<70).map { ($0 * 37) % 50 }
    test.earlierLengths = [[Int](repeating: 50, count: 80)]
    test.capacity = PlanCapacity(batch: 80, keysPerRequest: 50)
    let outcome = try test.run()
    #expect(outcome.plan?.kernel.mode == .heads)
    #expect(outcome.complaints == [])
    // Two of the three blocks have nothing to do.
    test.kvLengths = [3]
    #expect(try test.run().complaints == [])
    test = DecodeCase()
    test.modification.alibiSlopes = (0..<8).map { Float($0) / 8 }
    test.earlierLengths = [[5, 5]]
    test.capacity = PlanCapacity(batch: 6, keysPerRequest: 70)
    #expect(try test.run().complaints == [])
    test.target = .sm80
    #expect(try test.run().complaints == [])
  }

  /// The claim of `DecodeLayout`: no problem within a capacity needs more room.
  @Test func `lists have room for every batch within the capacity`() throws {
    var random = SplitMix64(seed: 11)
    for _ in 0..<400 {
      let batch = Int.random(in: 1...40, using: &random)
      let longest = [1, 16, 100, 5000, 1 << 20][Int.random(in: 0..<5, using: &random)]
      let queries = Int.random(in: 1...4, using: &random)
      let heads = [1, 2, 8][Int.random(in: 0..<3, using: &random)]
      let capacity = PlanCapacity(
        batch: batch, queriesPerRequest: queries, keysPerRequest: longest)
      var options = ExecutionOptions()
      switch Int.random(in: 0..<4, using: &random) {
      case 0: options.splitSize = Int.random(in: 1000...100_000, using: &random)
      case 1: options.disablesSplitKV = true
      case 2: options.isBatchInvariant = heads == 8
      default: break
      }
      func problem() -> AttentionProblem {
        let count = Int.random(in: 0...batch, using: &random)
        let lengths = (0..<count).map { _ in
          [0, 1, longest, Int.random(in: 0...longest, using: &random)]
            .randomElement(using: &random) ?? 0
        }
        return AttentionProblem(
          shape: AttentionShape(qoHeadCount: 4 * heads, kvHeadCount: heads, headDimQK: 128),
          types: AttentionTypes(q: .bf16),
          qoIndptr: RaggedIndptr(
            lengths: lengths.map { _ in Int.random(in: 0...queries, using: &random) }),
          geometry: .ragged(RaggedIndptr(lengths: lengths)), options: options)
      }
      let first = problem()
      let plan = DecodeLaunch.plan(
        first, capacity: capacity, target: .sm90a, multiprocessorCount: 132)
      guard let plan else {
        Issue.record("no plan for \(capacity), \(options)")
        continue
      }
      for _ in 0..<8 {
        let next = problem()
        let updated = plan.updated(to: next)
        #expect(updated != nil, "\(capacity), \(options), \(next)")
        #expect(updated?.workspaceByteCount == plan.workspaceByteCount)
        #expect(updated?.metadataByteCount == plan.metadataByteCount)
        #expect(updated?.blockCount == plan.blockCount)
      }
    }
  }
}
