import ApusCore
import ApusTestSupport
import Testing

/// Random and extreme operands of attention over every geometry.
@Suite struct HostileAttentionTests {
  @Test func `accepted operands hold every row and page that is read`() throws {
    var hostile = Hostile(seed: 202)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<20_000 {
      let problem = Self.problem(&hostile, round)
      try problem.validate(operation: "plan")
      let arguments = Self.arguments(&hostile, problem)
      guard
        (try? arguments.validate(for: problem, memory: .host, operation: "run")) != nil
      else { continue }
      accepted += 1
      for (name, view) in arguments.namedTensors {
        log.check(
          view.staysInside && view.memory == .host,
          "seed 202, round \(round): \(name) \(view) in \(view.byteCount) bytes")
      }
      for (name, view) in arguments.namedTensors {
        let index: Int
        var axis = 0
        switch (name, problem.geometry) {
        case ("q", _), ("qNope", _), ("qRope", _), ("o", _), ("lse", _):
          index = problem.qoIndptr.end - 1
        case ("sinks", _), ("qScale", _), ("oScale", _), ("kpeScale", _): continue
        case (_, .paged(let table)): index = table.greatestPage
        case (_, .ragged(let indptr)):
          index = indptr.end - 1
          // Heads come first in HND, unless the one latent head was left out.
          let isBare = !name.hasSuffix("Scale") && view.shape.count == 2
          axis = problem.layout == .nhd || isBare ? 0 : 1
        case (_, .padded(_, let lengths)): index = lengths.count - 1
        }
        let isHeadScale = name.hasSuffix("Scale") && view.shape == [problem.shape.kvHeadCount]
        log.check(
          isHeadScale || view.holds(index, axis: axis),
          "seed 202, round \(round): index \(index) of \(name) \(view)")
      }
    }
    log.expectNone()
    #expect(accepted > 2_000 && accepted < 19_000, "\(accepted)")
  }

  private static func problem(_ hostile: inout Hostile, _ round: Int) -> AttentionProblem {
    let geometry: KVGeometry =
      switch round % 3 {
      case 0: .ragged(RaggedIndptr([0, 4, 9]))
      case 1: .padded(maxLength: 6, lengths: [4, 5])
      default: .paged(.sample)
      }
    let isLatent = hostile.chance(2)
    return .sample(
      shape: AttentionShape(
        qoHeadCount: 4, kvHeadCount: isLatent ? 1 : 2, headDimQK: 24,
        headDimVO: isLatent ? 16 : 24),
      geometry: geometry, layout: hostile.pick(KVLayout.allCases),
      latent: isLatent ? LatentShape(ckv: 16, kpe: 8) : nil)
  }

  private static func arguments(
    _ hostile: inout Hostile, _ problem: AttentionProblem
  ) -> AttentionArguments {
    let shape = problem.shape
    // Free extents get the size that the lists need.
    let outer = problem.geometry.outerShape(layout: problem.layout, heads: shape.kvHeadCount).map {
      extent in
      if let extent { return extent }
      if case .paged = problem.geometry { return 3 }
      return 9
    }
    func cache(_ dim: Int) -> TensorView { hostile.spoil(.sample(.e4m3, outer + [dim])) }
    func rows(_ dim: Int, _ type: ScalarType = .bf16) -> TensorView {
      hostile.spoil(.sample(type, [5, 4, dim]))
    }
    let kv: KVOperand
    var q = QueryOperand.packed(rows(24))
    if problem.latent != nil {
      if hostile.chance(2) { q = .split(nope: rows(16), rope: rows(8)) }
      kv = hostile.chance(2) ? .packedLatent(cache(24)) : .latent(ckv: cache(16), kpe: cache(8))
    } else if case .paged = problem.geometry, hostile.chance(2) {
      kv = .combined(hostile.spoil(.sample(.e4m3, [3, 2] + outer.dropFirst() + [24])))
    } else {
      kv = .separate(k: cache(24), v: cache(24))
    }
    let heads = [shape.kvHeadCount]
    return AttentionArguments(
      q: q, kv: kv, o: rows(shape.headDimVO, .f16),
      lse: hostile.chance(2) ? nil : hostile.spoil(.sample(.f32, [5, 4])),
      scales: AttentionScales(
        q: hostile.scale(head: [4], token: [5, 4]), k: hostile.scale(head: heads, token: outer),
        v: hostile.scale(head: heads, token: outer), o: hostile.scale(head: [4], token: [5, 4])),
      sinks: hostile.chance(2) ? nil : hostile.spoil(.sample(.f32, [4])))
  }
}
