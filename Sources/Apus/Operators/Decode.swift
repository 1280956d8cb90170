public import ApusCore

/// One query token of one request against its whole context.
public enum SingleDecode {
  /// Plans decode over k `[kvLength, kvHead, dim]` (NHD) or `[kvHead, kvLength, dim]` (HND).
  ///
  /// The query stands at position `kvLength − 1`; q is `[1, qoHead, headDimQK]`.
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    shape: AttentionShape, types: AttentionTypes, kvLength: Int, layout: KVLayout = .nhd,
    mask: AttentionMask = .none, modification: ScoreModification = ScoreModification(),
    lseConvention: LSEConvention = .base2, options: ExecutionOptions = ExecutionOptions(),
    on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    try requireCounts([("kvLength", kvLength)], operation: "SingleDecode.plan")
    let problem = AttentionProblem(
      shape: shape, types: types, qoIndptr: RaggedIndptr([0, 1]),
      geometry: .ragged(RaggedIndptr([0, kvLength])), layout: layout, mask: mask,
      modification: modification, lseConvention: lseConvention, options: options)
    return try PlannedAttention(problem, operation: "SingleDecode", backend: backend)
  }
}

/// One or a few query tokens of each request of a batch against padded or paged caches.
public enum BatchDecode {
  /// Plans decode over a paged cache: k `[pages, pageSize, kvHead, dim]` (NHD) or
  /// `[pages, kvHead, pageSize, dim]` (HND).
  ///
  /// q is `[batch · queriesPerRequest, qoHead, headDimQK]`, the last tokens of each request.
  ///
  /// - Parameter capacity: what `PlannedAttention.update` may change the batch to; nil for a plan of
  ///   this batch alone.
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    shape: AttentionShape, types: AttentionTypes, pages: PageTable, layout: KVLayout = .nhd,
    queriesPerRequest: Int = 1, mask: AttentionMask = .causal,
    modification: ScoreModification = ScoreModification(), lseConvention: LSEConvention = .base2,
    options: ExecutionOptions = ExecutionOptions(), capacity: PlanCapacity? = nil,
    on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    try requireCounts([("queriesPerRequest", queriesPerRequest)], operation: "BatchDecode.plan")
    let problem = AttentionProblem(
      shape: shape, types: types,
      qoIndptr: RaggedIndptr(uniform: queriesPerRequest, batch: pages.batch),
      geometry: .paged(pages), layout: layout, mask: mask, modification: modification,
      lseConvention: lseConvention, options: options)
    return try PlannedAttention(
      problem, capacity: capacity, operation: "BatchDecode", backend: backend)
  }

  /// Plans decode over a padded cache: k `[batch, maxLength, kvHead, dim]` (NHD) or
  /// `[batch, kvHead, maxLength, dim]` (HND).
  ///
  /// - Parameter lengths: tokens of each request; nil means all `maxLength` of them, as FlashInfer's
  ///   former `batch_decode_with_padded_kv_cache` did.
  /// - Parameter capacity: as for pages.
  /// - Throws: `ApusError` with every violation.
  public static func planPadded(
    shape: AttentionShape, types: AttentionTypes, batch: Int, maxLength: Int,
    lengths: [Int]? = nil, layout: KVLayout = .nhd, queriesPerRequest: Int = 1,
    mask: AttentionMask = .causal, modification: ScoreModification = ScoreModification(),
    lseConvention: LSEConvention = .base2, options: ExecutionOptions = ExecutionOptions(),
    capacity: PlanCapacity? = nil, on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    try requireBatch(batch, operation: "BatchDecode.plan")
    try requireCounts([("queriesPerRequest", queriesPerRequest)], operation: "BatchDecode.plan")
    let problem = AttentionProblem(
      shape: shape, types: types,
      qoIndptr: RaggedIndptr(uniform: queriesPerRequest, batch: batch),
      geometry: .padded(
        maxLength: maxLength, lengths: lengths ?? [Int](repeating: maxLength, count: batch)),
      layout: layout, mask: mask, modification: modification, lseConvention: lseConvention,
      options: options)
    return try PlannedAttention(
      problem, capacity: capacity, operation: "BatchDecode", backend: backend)
  }
}

/// DeepSeek's latent attention (MLA, arXiv 2405.04434) with absorbed projections, over a paged
/// latent cache.
public enum MLADecode {
  /// Plans MLA decode: q `[batch · queriesPerRequest, qoHead, ckv + kpe]` (or its two parts), cache
  /// `[pages, pageSize, ckv + kpe]` (or its two parts), o `[…, qoHead, valueDim]`.
  ///
  /// - Parameters:
  ///   - latent: widths of the latent row, 512 + 64 for DeepSeek.
  ///   - valueDim: leading latent values that make V; nil means all of ckv.
  ///   - softmaxScale: that of the un-absorbed head, `1/√(128 + 64)` for DeepSeek.
  ///   - latentHeadCount: KV heads of the cache, usually 1.
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    qoHeadCount: Int, latentHeadCount: Int = 1, latent: LatentShape = LatentShape(),
    valueDim: Int? = nil, types: AttentionTypes, pages: PageTable, layout: KVLayout = .nhd,
    queriesPerRequest: Int = 1, mask: AttentionMask = .causal, softmaxScale: Float,
    lseConvention: LSEConvention = .base2, options: ExecutionOptions = ExecutionOptions(),
    on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    try requireCounts([("queriesPerRequest", queriesPerRequest)], operation: "MLADecode.plan")
    let (width, overflow) = latent.ckv.addingReportingOverflow(latent.kpe)
    let problem = AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: qoHeadCount, kvHeadCount: latentHeadCount,
        headDimQK: overflow ? .max : width, headDimVO: valueDim ?? latent.ckv),
      types: types, qoIndptr: RaggedIndptr(uniform: queriesPerRequest, batch: pages.batch),
      geometry: .paged(pages), layout: layout, latent: latent, mask: mask,
      modification: ScoreModification(softmaxScale: softmaxScale), lseConvention: lseConvention,
      options: options)
    return try PlannedAttention(problem, operation: "MLADecode", backend: backend)
  }
}

/// Refuses counts that no list could be made from, under the names that the caller used.
func requireCounts(
  _ counts: [(name: String, value: Int)], operation: String
) throws(ApusError) {
  try wrappingArguments { () throws(ArgumentError) in
    var validator = Validator(operation)
    for (name, value) in counts {
      validator.require(
        (0...Int(Int32.max)).contains(value), "\(name) must be in 0…\(Int32.max)",
        found: "\(value)")
    }
    try validator.finish()
  }
}

/// Refuses a batch that cannot even be expanded into lists.
func requireBatch(_ batch: Int, operation: String) throws(ApusError) {
  let limit = 1 << 24
  guard (0...limit).contains(batch) else {
    throw .argument(
      ArgumentError(operation: operation, "batch must be in 0…\(limit)", found: "\(batch)"))
  }
}
