import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

/// Random and extreme appends: every row lands in its cache.
@Suite struct HostileAppendTests {
  @Test func `accepted targets lie inside the cache`() {
    var hostile = Hostile(seed: 203)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<20_000 {
      let (problem, arguments, whole) = Self.append(&hostile)
      guard
        let found = try? problem.resolve(arguments, memory: .host, operation: "append")
      else { continue }
      accepted += 1
      let place = "seed 203, round \(round)"
      log.check(
        arguments.keys.staysInside && arguments.values.staysInside, "\(place): sources")
      for view in [found.keys, found.values].compactMap({ $0 }) {
        log.check(view.staysInside, "\(place): \(view) in \(view.byteCount) bytes")
        // A part ends where its cache tensor ends, or before.
        let ends = whole.map { $0.address &+ UInt(bitPattern: $0.byteCount) }
        let isEmpty = view.shape.contains(0)
        log.check(
          isEmpty || ends.contains(view.address &+ UInt(bitPattern: view.byteCount)),
          "\(place): \(view)")
        for t in 0..<problem.tokenCount {
          guard let (page, slot) = problem.target(t) else { continue }
          let axis = problem.layout == .nhd ? 1 : 2
          log.check(
            page >= 0 && view.holds(page, axis: 0) && slot >= 0
              && view.holds(slot, axis: axis), "\(place): \(page), \(slot) of \(view)")
        }
      }
    }
    log.expectNone()
    #expect(accepted > 2_000 && accepted < 19_000, "\(accepted)")
  }

  private static func append(
    _ hostile: inout Hostile
  ) -> (AppendProblem, AppendArguments, cache: [TensorView]) {
    let isLatent = hostile.chance(2)
    let layout = hostile.pick(KVLayout.allCases)
    let table = hostile.chance(3) ? hostile.table(batch: 2, pages: 3) : .sample
    let heads = isLatent ? 1 : 2
    let (dimK, dimV) = isLatent ? (16, hostile.pick([8, 0])) : (16, 16)
    var problem = AppendProblem(
      kvHeadCount: hostile.spoil(heads), headDimK: hostile.spoil(dimK),
      headDimV: hostile.spoil(dimV), sourceType: .bf16, cacheType: .f16, layout: layout,
      table: table, batchIndices: hostile.spoil([0, 1, -1, 1] as [Int32]),
      positions: hostile.spoil([3, 3, .min, 4] as [Int32]))
    problem.isLatent = isLatent != hostile.chance(40)
    let outer = [3] + layout.ordered(tokens: table.pageSize & 0xFF, heads: heads).compactMap { $0 }
    func cache(_ dim: Int) -> TensorView { hostile.spoil(.sample(.f16, outer + [dim])) }
    func scale() -> AppendScale {
      switch Int.random(in: 0..<12, using: &hostile.random) {
      case 0: .tensor(hostile.float())
      case 1: .head(hostile.spoil(.sample(.f32, [heads])))
      case 2: .dynamicTokenHead(hostile.spoil(.sample(.f32, outer)))
      default: .one
      }
    }
    let operand: KVOperand
    let whole: [TensorView]
    switch (isLatent, hostile.chance(2)) {
    case (true, true):
      whole = [cache(dimK + dimV)]
      operand = .packedLatent(whole[0])
    case (true, false):
      whole = [cache(dimK), cache(dimV)]
      operand = .latent(ckv: whole[0], kpe: whole[1])
    case (false, true):
      whole = [hostile.spoil(.sample(.f16, [3, 2] + outer.dropFirst() + [dimK]))]
      operand = .combined(whole[0])
    case (false, false):
      whole = [cache(dimK), cache(dimV)]
      operand = .separate(k: whole[0], v: whole[1])
    }
    let arguments = AppendArguments(
      keys: hostile.spoil(.sample(.bf16, [4, heads, dimK])),
      values: hostile.spoil(.sample(.bf16, [4, heads, dimV])), cache: operand, kScale: scale(),
      vScale: scale())
    return (problem, arguments, whole)
  }
}
