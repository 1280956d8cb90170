import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

/// Random and extreme lists: no check traps, and what passes can be followed to its end.
@Suite struct HostileListTests {
  @Test func `accepted indptrs give rows in order`() {
    var hostile = Hostile(seed: 101)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<20_000 {
      let batch = round % 5
      let valid = hostile.indptr(batch: batch, limit: 9)
      let indptr = RaggedIndptr(hostile.spoil(valid.offsets, oneIn: 2))
      _ = indptr.description
      for r in 0..<indptr.batch { _ = indptr.length(r) }
      _ = PackBitsArguments.byteIndptr(indptr)
      var validator = Validator("indptr")
      guard validator.requireIndptr("x", indptr) else { continue }
      accepted += 1
      log.check(
        (0..<indptr.batch).allSatisfy {
          let rows = indptr.rows($0)
          return rows.lowerBound >= 0 && rows.upperBound <= indptr.end
            && rows.count == indptr.length($0) && rows.count <= Int(Int32.max)
        }, "seed 101, round \(round): \(indptr)")
    }
    log.expectNone()
    #expect(accepted > 5_000 && accepted < 19_000, "\(accepted)")
  }

  @Test func `accepted page tables can be followed and compressed`() {
    var hostile = Hostile(seed: 102)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<20_000 {
      let table = hostile.table(batch: round % 5, pages: 7)
      _ = table.description
      var validator = Validator("pages")
      guard validator.requirePageTable(table) else {
        log.check(!validator.isClean, "seed 102, round \(round): refused without a reason")
        continue
      }
      accepted += 1
      var greatest = -1
      let compressed = table.compressed
      for r in 0..<table.batch {
        let length = table.length(r)
        let pages = table.pageCount(r)
        log.check(
          length >= 0 && length <= Int(Int32.max) && pages <= length
            && pages.multipliedFullWidth(by: table.pageSize).low >= UInt(length)
            && compressed.length(r) == length,
          "seed 102, round \(round): length \(length) of \(table)")
        for index in 0..<pages {
          greatest = max(greatest, table.page(r, index))
          log.check(
            table.page(r, index) >= 0 && compressed.page(r, index) == table.page(r, index),
            "seed 102, round \(round): page \(index) of request \(r)")
        }
      }
      log.check(greatest == table.greatestPage, "seed 102, round \(round): \(greatest)")
      var second = Validator("compressed")
      log.check(second.requirePageTable(compressed), "seed 102, round \(round): \(compressed)")
    }
    log.expectNone()
    #expect(accepted > 5_000 && accepted < 19_000, "\(accepted)")
  }

  @Test func `accepted problems have a mask for every pair`() {
    var hostile = Hostile(seed: 103)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<20_000 {
      let problem = Self.problem(&hostile, batch: round % 4)
      _ = problem.description
      _ = (problem.softmaxScale, problem.modification.activeSoftCap, problem.shape.groupSize)
      guard (try? problem.validate(operation: "plan")) != nil else { continue }
      accepted += 1
      log.check(
        problem.geometry.batch == problem.batch, "seed 103, round \(round): \(problem)")
      for r in 0..<problem.batch {
        let (qo, kv) = (problem.qoLength(r), problem.kvLength(r))
        log.check(
          qo >= 0 && kv >= 0 && qo <= Int(Int32.max) && kv <= Int(Int32.max),
          "seed 103, round \(round): lengths \(qo) and \(kv)")
        if case .padded(let maxLength, _) = problem.geometry {
          log.check(kv <= maxLength, "seed 103, round \(round): \(kv) of \(maxLength)")
        }
        // The corners of the matrix, which the custom mask must hold.
        for i in Set([0, qo / 2, qo - 1]) where (0..<qo).contains(i) {
          let visible = problem.mask.visibleKeys(i, qoLength: qo, kvLength: kv)
          log.check(
            visible.lowerBound >= 0 && visible.upperBound <= kv,
            "seed 103, round \(round): row \(i) sees \(visible)")
          for j in [0, kv - 1] where (0..<kv).contains(j) {
            _ = problem.mask.allows(request: r, i, j, qoLength: qo, kvLength: kv)
          }
        }
        _ = problem.mask.status(
          queries: 0..<qo, keys: 0..<kv, qoLength: qo, kvLength: kv)
      }
    }
    log.expectNone()
    #expect(accepted > 2_000 && accepted < 18_000, "\(accepted)")
  }

  private static func problem(_ hostile: inout Hostile, batch: Int) -> AttentionProblem {
    let kvOffsets = hostile.indptr(batch: batch, limit: 9).offsets
    let lengths = zip(kvOffsets, kvOffsets.dropFirst()).map { $1 - $0 }
    let geometry: KVGeometry =
      switch Int.random(in: 0..<3, using: &hostile.random) {
      case 0: .ragged(RaggedIndptr(hostile.spoil(kvOffsets)))
      case 1: .padded(maxLength: hostile.spoil(9), lengths: hostile.spoil(lengths))
      default: .paged(hostile.table(batch: batch, pages: 5))
      }
    let isLatent = hostile.chance(4)
    let latent = LatentShape(ckv: hostile.spoil(16), kpe: hostile.spoil(8))
    let shape = AttentionShape(
      qoHeadCount: hostile.spoil(4), kvHeadCount: hostile.spoil(2),
      headDimQK: hostile.spoil(isLatent ? 24 : 64), headDimVO: hostile.spoil(16))
    let qo = hostile.indptr(batch: batch, limit: 6)
    var problem = AttentionProblem(
      shape: shape, types: AttentionTypes(q: hostile.pick(ElementType.allCases)),
      qoIndptr: RaggedIndptr(hostile.spoil(qo.offsets)), geometry: geometry,
      layout: hostile.pick(KVLayout.allCases), latent: isLatent ? latent : nil)
    problem.mask.isCausal = hostile.chance(2)
    if hostile.chance(2) { problem.mask.windowLeft = abs(hostile.spoil(3, oneIn: 3) / 2) }
    if hostile.chance(9) { problem.mask.windowLeft = hostile.int() }
    if hostile.chance(3) {
      // 7 bytes hold 6 × 9 bits, the most that an unspoiled ragged or padded request has.
      let offsets = RaggedIndptr(uniform: 7, batch: batch).offsets
      problem.mask.custom = CustomMask(
        bytes: [UInt8](repeating: 0x5A, count: hostile.spoil(7 * batch, oneIn: 9) & 0xFF),
        byteIndptr: RaggedIndptr(hostile.spoil(offsets)), bitOrder: hostile.pick([.little, .big]))
    }
    if hostile.chance(8) { problem.modification.softmaxScale = hostile.float() }
    if hostile.chance(8) { problem.modification.logitsSoftCap = hostile.float() }
    if hostile.chance(8) {
      problem.modification.alibiSlopes = [1, 0.5, 0.25, hostile.chance(3) ? hostile.float() : 2]
    }
    if hostile.chance(8) {
      problem.modification.rope = RotaryEmbedding(
        rotaryDim: hostile.spoil(32, oneIn: 3), scale: Double(hostile.float()),
        llama31: hostile.chance(2) ? .init(lowFrequencyFactor: Double(hostile.float())) : nil)
    }
    if hostile.chance(8) { problem.options.splitSize = hostile.int() }
    return problem
  }

  @Test func `accepted lists pack and place every element`() {
    var hostile = Hostile(seed: 104)
    var log = Mismatches()
    var packed = 0
    var placed = 0
    for round in 0..<20_000 {
      let counts = hostile.indptr(batch: round % 4, limit: 20)
      let flags = [Bool](repeating: true, count: counts.end)
      let lengths = hostile.spoil((0..<counts.batch).map(counts.length), oneIn: 2)
      if let mask = try? CustomMask(packing: flags, elementCounts: lengths) {
        packed += 1
        let bits = mask.bytes.reduce(0) { $0 + $1.nonzeroBitCount }
        log.check(
          bits == flags.count && mask.byteIndptr.end == mask.bytes.count,
          "seed 104, round \(round): \(bits) bits of \(flags.count)")
      }
      // At most the end of the unspoiled list, so that an accepted list stays small.
      let offsets = hostile.spoil(counts.offsets, oneIn: 3).map { min($0, counts.end) }
      let starts = hostile.spoil([Int](repeating: 5, count: counts.batch), oneIn: 3)
      let indptr = RaggedIndptr(offsets)
      if let positions = try? RotaryArguments.positions(indptr: indptr, offsets: starts) {
        placed += 1
        log.check(positions.count == indptr.end, "seed 104, round \(round): \(positions.count)")
      }
      if let list = try? AppendProblem.indicesAndPositions(appendIndptr: indptr, lengths: starts) {
        log.check(
          zip(list.batchIndices, list.positions).allSatisfy {
            Int($1) >= 0 && Int($1) < starts[Int($0)]
          }, "seed 104, round \(round): \(list)")
      }
    }
    log.expectNone()
    #expect(packed > 5_000 && packed < 19_000, "\(packed)")
    #expect(placed > 5_000 && placed < 19_000, "\(placed)")
  }
}
