import ApusCore
import ApusNumerics
import ApusPlanner
import ApusTestSupport
import Testing

@Suite struct AttentionScheduleTests {
  static func problem(
    qo: [Int], kv: [Int], group: Int = 1, kvHeads: Int = 1, mask: AttentionMask = .none,
    options: ExecutionOptions = ExecutionOptions()
  ) -> AttentionProblem {
    AttentionProblem(
      shape: AttentionShape(qoHeadCount: group * kvHeads, kvHeadCount: kvHeads, headDimQK: 8),
      types: AttentionTypes(q: .f32), qoIndptr: RaggedIndptr(lengths: qo),
      geometry: .ragged(RaggedIndptr(lengths: kv)), mask: mask, options: options)
  }

  /// How often each (kvHead, packed row, key) of each request is computed.
  static func coverage(_ schedule: AttentionSchedule, request: Int) -> [[Int]: Int] {
    var counts: [[Int]: Int] = [:]
    for tile in schedule.tiles where Int(tile.request) == request {
      for row in tile.rows {
        for key in tile.keys { counts[[Int(tile.kvHead), row, key], default: 0] += 1 }
      }
    }
    return counts
  }

  @Test func `every visible pair is computed exactly once and no pair twice`() throws {
    let policy = TilingPolicy(tileRows: 4, decodeSplit: 5, prefillSplit: 7, decodeRows: 3)
    let masks: [AttentionMask] = [
      .none, .causal, AttentionMask(windowLeft: 3), AttentionMask(isCausal: true, windowLeft: 2),
    ]
    withEvery("mask", in: masks) { mask in
      withEvery("qo", in: [0, 1, 3, 4, 5, 9]) { qo in
        withEvery("kv", in: [0, 1, 4, 5, 6, 14, 15, 22]) { kv in
          withEvery("group", in: [1, 3]) { group in
            let problem = Self.problem(qo: [qo], kv: [kv], group: group, kvHeads: 2, mask: mask)
            let schedule = try AttentionSchedule(problem, policy: policy, operation: "test")
            let counts = Self.coverage(schedule, request: 0)
            expect(counts.values.allSatisfy { $0 == 1 }, "a pair is computed twice")
            for head in 0..<2 {
              for row in 0..<qo * group {
                let visible = mask.visibleKeys(row / group, qoLength: qo, kvLength: kv)
                expect(
                  visible.allSatisfy { counts[[head, row, $0]] == 1 }, "a visible pair is missing")
              }
            }
          }
        }
      }
    }
  }

  @Test func `every row is owned by one final tile or one merge`() throws {
    let policy = TilingPolicy(tileRows: 4, decodeSplit: 5, prefillSplit: 7, decodeRows: 3)
    let problem = Self.problem(
      qo: [1, 0, 9, 2], kv: [33, 4, 40, 0], group: 3, kvHeads: 2, mask: .causal)
    let schedule = try AttentionSchedule(problem, policy: policy, operation: "test")
    var owners: [[Int]: Int] = [:]
    for tile in schedule.tiles where tile.isFinal {
      for row in tile.rows { owners[[Int(tile.request), Int(tile.kvHead), row], default: 0] += 1 }
    }
    for merge in schedule.merges {
      for row in merge.rows {
        owners[[Int(merge.request), Int(merge.kvHead), row], default: 0] += 1
      }
      #expect(merge.partialCount >= 2)
    }
    #expect(owners.count == (1 + 0 + 9 + 2) * 3 * 2)
    #expect(owners.values.allSatisfy { $0 == 1 })
  }

  @Test func `partials are written once, lie apart and fill the workspace`() throws {
    let policy = TilingPolicy(tileRows: 4, decodeSplit: 5, prefillSplit: 7, decodeRows: 3)
    let problem = Self.problem(qo: [1, 9], kv: [33, 40], group: 3, kvHeads: 2)
    let schedule = try AttentionSchedule(problem, policy: policy, operation: "test")
    let partials = schedule.tiles.filter { !$0.isFinal }
    #expect(partials.map(\.partial).sorted() == (0..<Int32(partials.count)).map { $0 })
    for tile in partials {
      let index = Int(tile.partial)
      let size = schedule.partialOffsets[index + 1] - schedule.partialOffsets[index]
      #expect(size == tile.rows.count * (problem.shape.headDimVO + 2))
    }
    #expect(schedule.workspaceFloatCount == schedule.partialOffsets.last)
  }

  @Test func `split boundaries are multiples of the split size`() throws {
    let options = ExecutionOptions(splitSize: 6)
    let problem = Self.problem(
      qo: [1], kv: [40], mask: AttentionMask(isCausal: true, windowLeft: 20), options: options)
    let schedule = try AttentionSchedule(problem, policy: TilingPolicy(), operation: "test")
    #expect(schedule.tiles.map(\.keys) == [19..<24, 24..<30, 30..<36, 36..<40])
  }

  @Test func `a request is cut the same way alone and in a batch`() throws {
    let policy = TilingPolicy(tileRows: 8, decodeSplit: 16, prefillSplit: 32, decodeRows: 4)
    let alone = try AttentionSchedule(
      Self.problem(qo: [5], kv: [100], group: 2, mask: .causal), policy: policy, operation: "test")
    let batch = try AttentionSchedule(
      Self.problem(qo: [1, 5, 30], kv: [7, 100, 300], group: 2, mask: .causal), policy: policy,
      operation: "test")
    let mine = batch.tiles.filter { $0.request == 1 }
    #expect(mine.map(\.rows) == alone.tiles.map(\.rows))
    #expect(mine.map(\.keys) == alone.tiles.map(\.keys))
  }

  @Test func `disabling splits gives one tile per row block`() throws {
    let options = ExecutionOptions(disablesSplitKV: true)
    let problem = Self.problem(qo: [1], kv: [1 << 20], options: options)
    let schedule = try AttentionSchedule(problem, policy: TilingPolicy(), operation: "test")
    #expect(schedule.tiles.count == 1)
    #expect(schedule.merges.isEmpty)
    #expect(schedule.workspaceFloatCount == 0)
  }

  @Test func `too many packed rows are refused`() {
    let problem = Self.problem(qo: [1 << 30], kv: [4], group: 4)
    let error = #expect(throws: ArgumentError.self) {
      _ = try AttentionSchedule(problem, policy: TilingPolicy(), operation: "BatchPrefill.plan")
    }
    #expect(
      error?.description
        == "BatchPrefill.plan: qoLength × groupSize must fit 31 bits; found 1073741824 × 4 at "
        + "request 0. Append in several calls.")
  }

  @Test func `a work list without end is refused before it is made`() {
    func refusal(
      _ problem: AttentionProblem, _ policy: TilingPolicy = TilingPolicy()
    ) -> String {
      let error = #expect(throws: ArgumentError.self) {
        _ = try AttentionSchedule(problem, policy: policy, operation: "p")
      }
      return "\(error.map(String.init(describing:)) ?? "")"
    }
    let length = Int(Int32.max)
    let remedy = "Pass fewer requests or rows at a time, or choose a larger splitSize."
    #expect(
      refusal(Self.problem(qo: [length], kv: [length]))
        == "p: the work list must hold at most 16777216 tiles; "
        + "found 0 and 33554432 more at request 0 in splits of 137438953472 keys. \(remedy)")
    #expect(
      refusal(
        Self.problem(qo: [1, 1], kv: [5, length], options: ExecutionOptions(splitSize: 1)))
        == "p: the work list must hold at most 16777216 tiles; "
        + "found 5 and \(length) more at request 1 in splits of 1 keys. \(remedy)")
    #expect(
      refusal(Self.problem(qo: [1 << 15], kv: [8], kvHeads: 65_536))
        == "p: the work list must hold at most 16777216 tiles; "
        + "found 0 and 33554432 more at request 0 in splits of 2097152 keys. \(remedy)")
  }

  @Test func `partial states of a prefill never outgrow one row tile per split`() throws {
    let policy = TilingPolicy(tileRows: 4, decodeSplit: 8, prefillSplit: 8, decodeRows: 2)
    let kv = 256
    for qo in [3, 4, 5, 64, 200, 256] {
      let problem = Self.problem(qo: [qo], kv: [kv], mask: .causal)
      let schedule = try AttentionSchedule(problem, policy: policy, operation: "test")
      let rowTiles = (qo + 3) / 4
      // Each row tile meets at most ⌈kv / (prefillSplit · rowTiles)⌉ splits.
      let splits = (kv + 8 * rowTiles - 1) / (8 * rowTiles)
      let partials = schedule.tiles.filter { !$0.isFinal }
      #expect(partials.count <= rowTiles * splits)
      #expect(qo < 128 || partials.isEmpty)
      #expect(qo > 64 || !partials.isEmpty)
    }
  }

  @Test func `the description counts tiles, merges and bytes`() throws {
    let problem = Self.problem(qo: [1], kv: [40], options: ExecutionOptions(splitSize: 20))
    let schedule = try AttentionSchedule(problem, policy: TilingPolicy(), operation: "test")
    #expect(schedule.description == "2 tiles, 1 merges, 80 workspace bytes")
    #expect(
      schedule.tiles[0].description
        == "tile(request 0, kvHead 0, rows 0..<1, keys 0..<20, partial 0)")
  }
}
