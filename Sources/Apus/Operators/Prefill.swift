public import ApusCore

/// Many query tokens of one request.
public enum SinglePrefill {
  /// Plans prefill over k `[kvLength, kvHead, dim]` (NHD) or `[kvHead, kvLength, dim]` (HND); q is
  /// `[qoLength, qoHead, headDimQK]`.
  ///
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    shape: AttentionShape, types: AttentionTypes, qoLength: Int, kvLength: Int,
    layout: KVLayout = .nhd, mask: AttentionMask = .causal,
    modification: ScoreModification = ScoreModification(), lseConvention: LSEConvention = .base2,
    options: ExecutionOptions = ExecutionOptions(), on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    try requireCounts(
      [("qoLength", qoLength), ("kvLength", kvLength)], operation: "SinglePrefill.plan")
    let problem = AttentionProblem(
      shape: shape, types: types, qoIndptr: RaggedIndptr([0, qoLength]),
      geometry: .ragged(RaggedIndptr([0, kvLength])), layout: layout, mask: mask,
      modification: modification, lseConvention: lseConvention, options: options)
    return try PlannedAttention(problem, operation: "SinglePrefill", backend: backend)
  }
}

/// Query tokens of several requests: prefill of new requests and append to old ones alike.
public enum BatchPrefill {
  /// Plans prefill or append over ragged keys: k `[tokens, kvHead, dim]` (NHD) or
  /// `[kvHead, tokens, dim]` (HND).
  ///
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    shape: AttentionShape, types: AttentionTypes, qoIndptr: RaggedIndptr, kvIndptr: RaggedIndptr,
    layout: KVLayout = .nhd, mask: AttentionMask = .causal,
    modification: ScoreModification = ScoreModification(), lseConvention: LSEConvention = .base2,
    options: ExecutionOptions = ExecutionOptions(), on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    let problem = AttentionProblem(
      shape: shape, types: types, qoIndptr: qoIndptr, geometry: .ragged(kvIndptr), layout: layout,
      mask: mask, modification: modification, lseConvention: lseConvention, options: options)
    return try PlannedAttention(problem, operation: "BatchPrefill", backend: backend)
  }

  /// Plans prefill or append over a paged cache that already holds the new tokens.
  ///
  /// - Throws: `ApusError` with every violation.
  public static func plan(
    shape: AttentionShape, types: AttentionTypes, qoIndptr: RaggedIndptr, pages: PageTable,
    layout: KVLayout = .nhd, mask: AttentionMask = .causal,
    modification: ScoreModification = ScoreModification(), lseConvention: LSEConvention = .base2,
    options: ExecutionOptions = ExecutionOptions(), on backend: any Backend
  ) throws(ApusError) -> PlannedAttention {
    let problem = AttentionProblem(
      shape: shape, types: types, qoIndptr: qoIndptr, geometry: .paged(pages), layout: layout,
      mask: mask, modification: modification, lseConvention: lseConvention, options: options)
    return try PlannedAttention(problem, operation: "BatchPrefill", backend: backend)
  }
}
