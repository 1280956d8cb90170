import Apus

// The code of the articles, run and checked. Scripts/snippets finds every block of the
// documentation in these files, line for line.

/// Runs all snippets.
func checkSnippets() throws {
  let cpu = try CPUBackend()
  try workspaces(cpu)
  try pageTables()
  try raggedPrefill(cpu)
  try latentDecode(cpu)
  try appendToFP8(cpu)
  try masks()
  try scores(cpu)
  try conventions()
  try merging(cpu)
  try errors(cpu)
  print("client: the code of every article runs and gives what its article says")
}

/// Reproducible numbers in -1...1.
func numbers(_ count: Int) -> [Float] {
  (0..<count).map { Float($0 * 37 % 101) / 50 - 1 }
}

private func workspaces(_ cpu: CPUBackend) throws {
  let shape = AttentionShape(qoHeadCount: 8, kvHeadCount: 2, headDimQK: 64)
  let q = try Tensor(numbers(8 * 64), .f32, shape: [1, 8, 64])
  let k = try Tensor(numbers(5000 * 2 * 64), .f32, shape: [5000, 2, 64])
  let o = try Tensor(zeros: .f32, shape: [1, 8, 64])

  let plan = try SingleDecode.plan(
    shape: shape, types: AttentionTypes(q: .f32), kvLength: 5000, on: cpu)
  let workspace = try Tensor(zeroScalars: .u8, shape: [plan.workspaceByteCount])
  try plan.run(
    AttentionArguments(q: .packed(q.view), kv: .separate(k: k.view, v: k.view), o: o.view),
    workspace: workspace.view)

  try require(plan.workspaceByteCount > 0, "a long context is split")
  let again = try Tensor(zeros: .f32, shape: [1, 8, 64])
  try plan.run(q: q.view, k: k.view, v: k.view, o: again.view)
  try require(o.values == again.values, "the same plan and inputs give the same bits")
  try require(!o.values.allSatisfy { $0 == 0 }, "a result other than zero")
}

private func pageTables() throws {
  let compressed = PageTable(
    pageSize: 16, indptr: RaggedIndptr([0, 2, 5]), indices: [5, 2, 0, 7, 3],
    lastPageLength: [4, 16])
  let dense = PageTable(
    pageSize: 16, blocks: [5, 2, -1, 0, 7, 3], pagesPerRequest: 3, lengths: [20, 48])

  try require(dense.compressed == compressed, "both forms describe the same pages")
  try require(compressed.length(0) == 20 && compressed.length(1) == 48, "lengths agree")
}

private func raggedPrefill(_ cpu: CPUBackend) throws {
  // Request 0 brings 3 new tokens to a context of 10, request 1 is new with 4.
  let plan = try BatchPrefill.plan(
    shape: AttentionShape(qoHeadCount: 4, kvHeadCount: 4, headDimQK: 64),
    types: AttentionTypes(q: .f16), qoIndptr: RaggedIndptr([0, 3, 7]),
    kvIndptr: RaggedIndptr([0, 10, 14]), layout: .hnd, on: cpu)

  let q = try Tensor(numbers(7 * 4 * 64), .f16, shape: [7, 4, 64])
  let k = try Tensor(numbers(4 * 14 * 64), .f16, shape: [4, 14, 64])
  let o = try Tensor(zeros: .f16, shape: [7, 4, 64])
  try plan.run(q: q.view, k: k.view, v: k.view, o: o.view)
  // The first query of request 1 sees one key: its output is that value, exactly.
  for head in 0..<4 {
    let output = o.values[(3 * 4 + head) * 64..<(3 * 4 + head + 1) * 64]
    let value = k.values[(head * 14 + 10) * 64..<(head * 14 + 11) * 64]
    try require(Array(output) == Array(value), "a row with one key returns its value")
  }
}

private func latentDecode(_ cpu: CPUBackend) throws {
  let pages = PageTable(pageSize: 64, blocks: [1, 0], pagesPerRequest: 2, lengths: [1])
  let plan = try MLADecode.plan(
    qoHeadCount: 16, types: AttentionTypes(q: .bf16), pages: pages,
    softmaxScale: 1 / Float(128 + 64).squareRoot(), on: cpu)
  let q = try Tensor(numbers(16 * 576), .bf16, shape: [1, 16, 576])
  let cache = try Tensor(numbers(2 * 64 * 576), .bf16, shape: [2, 64, 576])
  let o = try Tensor(zeros: .bf16, shape: [1, 16, 512])
  try plan.run(
    AttentionArguments(q: .packed(q.view), kv: .packedLatent(cache.view), o: o.view))

  let latent = Array(cache.values[64 * 576..<64 * 576 + 512])
  for head in 0..<16 {
    try require(
      Array(o.values[head * 512..<(head + 1) * 512]) == latent, "one token returns its latent")
  }
}

private func appendToFP8(_ cpu: CPUBackend) throws {
  let keys = try Tensor(numbers(3 * 8 * 128), .bf16, shape: [3, 8, 128])
  let values = try Tensor(numbers(3 * 8 * 128).reversed(), .bf16, shape: [3, 8, 128])
  let kCache = try Tensor(zeros: .e4m3, shape: [8, 16, 8, 128])
  let vCache = try Tensor(zeros: .e4m3, shape: [8, 16, 8, 128])

  // Three tokens arrive; the request then has 21, of which 5 lie in its second page.
  let table = PageTable(
    pageSize: 16, indptr: RaggedIndptr([0, 2]), indices: [5, 2], lastPageLength: [5])
  let (requests, positions) = try AppendProblem.indicesAndPositions(
    appendIndptr: RaggedIndptr([0, 3]), lengths: [21])
  try Append.run(
    AppendProblem(
      kvHeadCount: 8, headDimK: 128, sourceType: .bf16, cacheType: .e4m3, table: table,
      batchIndices: requests, positions: positions),
    AppendArguments(
      keys: keys.view, values: values.view,
      cache: .separate(k: kCache.view, v: vCache.view),
      kScale: .tensor(0.004), vScale: .tensor(0.004)),
    on: cpu)

  let q = try Tensor(numbers(8 * 128), .bf16, shape: [1, 8, 128])
  let o = try Tensor(zeros: .bf16, shape: [1, 8, 128])
  let decode = try BatchDecode.plan(
    shape: AttentionShape(qoHeadCount: 8, kvHeadCount: 8, headDimQK: 128),
    types: AttentionTypes(q: .bf16, kv: .e4m3), pages: table, on: cpu)
  try decode.run(
    q: q.view, k: kCache.view, v: vCache.view, o: o.view,
    scales: AttentionScales(k: .tensor(0.004), v: .tensor(0.004)))

  // Token 18 is slot 2 of page 2. Half a unit of e4m3, or half its least step near zero; the
  // division by the scale rounds in f32.
  let stored = kCache.values[(2 * 16 + 2) * 1024..<(2 * 16 + 3) * 1024]
  for (code, key) in zip(stored, keys.values) {
    let error = (Double(code) * 0.004 - Double(key)).magnitude
    let bound = max(
      (ElementType.e4m3.unitRoundoff + 2 * u) * Double(key).magnitude, 0x1p-10 * 0.004 * (1 + u))
    try require(error <= bound, "an appended key is within rounding of its source")
  }
  let untouched = kCache.values[..<(2 * 16 * 1024)]
  try require(untouched.allSatisfy { $0 == 0 }, "slots of other tokens stay as they are")
}

private func masks() throws {
  let mask = AttentionMask(isCausal: true, windowLeft: 127)
  let visible = mask.visibleKeys(0, qoLength: 4, kvLength: 300)  // 169..<297

  try require(visible == 169..<297, "128 keys end at the query's own")

  // Two drafts of two tokens each follow a prefix of two: a tree of six keys.
  let tree = try CustomMask(
    packing: [
      true, true, true, false, false, false,
      true, true, true, true, false, false,
      true, true, false, false, true, false,
      true, true, false, false, true, true,
    ], elementCounts: [4 * 6])
  let drafts = AttentionMask.custom(tree)

  try require(
    !drafts.allows(request: 0, 2, 3, qoLength: 4, kvLength: 6)
      && drafts.allows(request: 0, 3, 5, qoLength: 4, kvLength: 6),
    "a draft sees its own branch only")
  try require(
    drafts.visibleKeys(0, qoLength: 4, kvLength: 6) == 0..<6, "a custom mask does not cut ranges")
}

private func scores(_ cpu: CPUBackend) throws {
  let modification = ScoreModification(
    softmaxScale: 0.125, logitsSoftCap: 50,
    alibiSlopes: ScoreModification.alibiSlopes(headCount: 8), rope: .llama31Default)
  let plan = try SinglePrefill.plan(
    shape: AttentionShape(qoHeadCount: 8, kvHeadCount: 8, headDimQK: 64),
    types: AttentionTypes(q: .f32), qoLength: 16, kvLength: 16, modification: modification,
    on: cpu)

  let slopes = modification.alibiSlopes ?? []
  try require(slopes.first == 0.5 && slopes.last == 0x1p-8, "slopes of 8 heads are 2^-1…2^-8")
  let q = try Tensor(numbers(16 * 8 * 64), .f32, shape: [16, 8, 64])
  let o = try Tensor(zeros: .f32, shape: [16, 8, 64])
  try plan.run(q: q.view, k: q.view, v: q.view, o: o.view)
  try require(
    Array(o.values.prefix(512)) == Array(q.values.prefix(512)), "the first row sees itself alone")
}

private func conventions() throws {
  let natural = LSEConvention.natural.external(3)  // 3 · ln 2
  let inside = LSEConvention.flashMLA.internal(.infinity)  // -inf: an empty row

  try require((natural - 2.0794415).magnitude < 0x1p-22, "base 2 becomes natural")
  try require(inside == -.infinity, "an empty row is −∞ inside")
}
