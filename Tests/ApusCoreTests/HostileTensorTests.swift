import ApusCore
import ApusTestSupport
import Testing

/// Random and extreme tensors: no check traps, and what passes stays inside its buffer.
@Suite struct HostileTensorTests {
  @Test func `accepted tensors stay inside their buffers`() {
    var hostile = Hostile(seed: 201)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<30_000 {
      let shape = [hostile.pick([0, 1, 3]), hostile.pick([1, 2]), hostile.pick([1, 8])]
      let type = hostile.pick(ScalarType.allCases)
      let view = hostile.spoil(
        .sample(
          type, shape, strides: hostile.chance(2) ? nil : [hostile.int(), hostile.int(), 1]),
        oneIn: 2)
      _ = (view.description, view.elementCount, view.requiredByteCount)
      let isOutput = hostile.chance(2)
      let expected = hostile.spoil(shape, oneIn: 4).map { hostile.chance(3) ? nil : $0 }
      var validator = Validator("tensor")
      let passed = validator.requireTensor(
        "x", view, [type], shape: expected, isOutput: isOutput,
        innermostContiguous: hostile.chance(2))
      log.check(passed == validator.isClean, "seed 201, round \(round): \(view)")
      guard passed else { continue }
      accepted += 1
      log.check(view.staysInside, "seed 201, round \(round): \(view) in \(view.byteCount) bytes")
      for (axis, extent) in view.shape.enumerated() where extent > 0 {
        let part = view.selecting(extent - 1, axis: axis)
        log.check(part.staysInside, "seed 201, round \(round): \(part) of \(view)")
      }
      if isOutput, let count = view.elementCount, (1...64).contains(count) {
        log.check(
          Self.offsets(view).count == count, "seed 201, round \(round): \(view) overlaps")
      }
    }
    log.expectNone()
    #expect(accepted > 3_000 && accepted < 29_000, "\(accepted)")
  }

  /// The distinct element offsets of a small view.
  private static func offsets(_ view: TensorView) -> Set<Int> {
    var all: [Int] = [0]
    for (extent, stride) in zip(view.shape, view.strides) {
      all = all.flatMap { base in
        (0..<extent).map { $0 == 0 ? base : base + $0 * stride }
      }
    }
    return Set(all)
  }

  @Test func `accepted merges, rotations and packings stay inside their buffers`() {
    var hostile = Hostile(seed: 204)
    var log = Mismatches()
    var accepted = 0
    for round in 0..<30_000 {
      func v(_ shape: [Int] = [5, 4, 8]) -> TensorView { hostile.spoil(.sample(.bf16, shape)) }
      func s(_ shape: [Int] = [5, 4]) -> TensorView { hostile.spoil(.sample(.f32, shape)) }
      var views: [TensorView] = []
      let verdict: String
      switch round % 5 {
      case 0:
        views = [v(), s(), v(), s(), v(), s()]
        let states = MergeArguments.States.two(
          aV: views[0], aS: views[1], bV: views[2], bS: views[3], v: views[4], s: views[5])
        verdict = refusal { try MergeArguments(states).validate(memory: .host, operation: "f") }
      case 1:
        views = [v(), s(), v(), s(), hostile.spoil(.sample(.u8, [5]))]
        let states = MergeArguments.States.inPlace(
          v: views[0], s: views[1], otherV: views[2], otherS: views[3], mask: views[4])
        verdict = refusal { try MergeArguments(states).validate(memory: .host, operation: "f") }
      case 2:
        views = [v([5, 3, 4, 8]), s([5, 3, 4]), v(), s()]
        let states = MergeArguments.States.many(
          states: views[0], logits: views[1], v: views[2], s: views[3])
        verdict = refusal { try MergeArguments(states).validate(memory: .host, operation: "f") }
      case 3:
        views = [v(), v([5, 2, 8]), v(), v([5, 2, 8]), s([9, 8])]
        let rotation = RotaryArguments(
          q: views[0], k: views[1], qOut: views[2], kOut: views[3],
          positions: hostile.spoil([0, 8, 3, 3, 1]),
          source: hostile.chance(2)
            ? .cosSinCache(views[4], pairing: .half)
            : .frequencies(RotaryEmbedding(rotaryDim: hostile.spoil(8, oneIn: 5))))
        _ = rotation.rotaryDim
        verdict = refusal { try rotation.validate(memory: .host, operation: "f") }
        guard verdict == "accepted" else { break }
        if case .cosSinCache(let table, _) = rotation.source {
          log.check(
            rotation.positions.allSatisfy { $0 >= 0 && table.holds($0, axis: 0) },
            "seed 204, round \(round): positions \(rotation.positions) of \(table)")
        } else {
          views.removeLast()
        }
        log.check(
          rotation.rotaryDim <= views[0].shape[2] && rotation.positions.count == views[0].shape[0],
          "seed 204, round \(round): \(rotation)")
      default:
        let indptr = RaggedIndptr(hostile.spoil([0, 3, 3, 20]))
        views = [hostile.spoil(.sample(.u8, [20])), hostile.spoil(.sample(.u8, [4]))]
        let packing = PackBitsArguments(
          flags: views[0], packed: views[1], indptr: indptr, bitOrder: .little)
        verdict = refusal { try packing.validate(memory: .host, operation: "f") }
        log.check(
          verdict != "accepted" || indptr.end == 0 || views[0].holds(indptr.end - 1, axis: 0),
          "seed 204, round \(round): \(indptr) of \(views[0])")
      }
      guard verdict == "accepted" else { continue }
      accepted += 1
      log.check(
        views.allSatisfy { $0.staysInside && $0.memory == .host },
        "seed 204, round \(round): \(views)")
    }
    log.expectNone()
    #expect(accepted > 3_000 && accepted < 29_000, "\(accepted)")
  }
}
