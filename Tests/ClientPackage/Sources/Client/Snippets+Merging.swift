import Apus

func merging(_ cpu: CPUBackend) throws {
  let shape = AttentionShape(qoHeadCount: 2, kvHeadCount: 2, headDimQK: 64)
  let q = try Tensor(numbers(2 * 64), shape: [1, 2, 64])
  let k = try Tensor(numbers(32 * 2 * 64), shape: [32, 2, 64])
  let v = try Tensor(numbers(32 * 2 * 64).reversed(), shape: [32, 2, 64])
  let whole = try Tensor(zeros: .f32, shape: [1, 2, 64])
  try SingleDecode.plan(shape: shape, types: AttentionTypes(q: .f32), kvLength: 32, on: cpu)
    .run(q: q.view, k: k.view, v: v.view, o: whole.view)

  // The state (o, lse) of keys 0..<20 and that of keys 20..<32.
  var states: [(o: Tensor, lse: Tensor)] = []
  for range in [0..<20, 20..<32] {
    let rows = range.lowerBound * 128..<range.upperBound * 128
    let part = [k, v].map { Array($0.values[rows]) }
    let keys = try Tensor(part[0], shape: [range.count, 2, 64])
    let values = try Tensor(part[1], shape: [range.count, 2, 64])
    let o = try Tensor(zeros: .f32, shape: [1, 2, 64])
    let lse = try Tensor(zeros: .f32, shape: [1, 2])
    try SingleDecode.plan(
      shape: shape, types: AttentionTypes(q: .f32), kvLength: range.count, on: cpu
    ).run(q: q.view, k: keys.view, v: values.view, o: o.view, lse: lse.view)
    states.append((o, lse))
  }
  let (a, b) = (states[0], states[1])
  let o = try Tensor(zeros: .f32, shape: [1, 2, 64])
  let lse = try Tensor(zeros: .f32, shape: [1, 2])
  try MergeStates.run(
    MergeArguments(
      .two(
        aV: a.o.view, aS: a.lse.view, bV: b.o.view, bS: b.lse.view, v: o.view, s: lse.view)),
    on: cpu)

  // |q|, |k| and |v| are at most 1, so scaled scores are at most √64 and means at most 1. Both sides
  // err, and the merge computes and divides by two more weights.
  let weight = weightError(dim: 64, magnitude: 8)
  let bound = 2 * meanError(count: 32, weightError: weight) + 16 * u
  for (merged, expected) in zip(o.values, whole.values) {
    try require(
      (Double(merged) - Double(expected)).magnitude <= bound, "merged halves equal the whole")
  }
  try require(!o.values.allSatisfy { $0 == 0 }, "a result other than zero")
}

func errors(_ cpu: CPUBackend) throws {
  var message = ""
  do throws(ApusError) {
    _ = try SingleDecode.plan(
      shape: AttentionShape(qoHeadCount: 32, kvHeadCount: 3, headDimQK: 100),
      types: AttentionTypes(q: .bf16), kvLength: 64, on: cpu)
  } catch {
    message = error.description
  }
  let expected = """
    SingleDecode.plan: 3 requirements do not hold:
      - qoHeadCount must be a multiple of kvHeadCount; found 32 and 3.
      - headDimQK must be a multiple of 8 in 8…576; found 100.
      - headDimVO must be a multiple of 8 in 8…512; found 100.
    """
  guard message == expected else {
    throw ClientError("the error must read as the article shows it; found \(message)")
  }
}
