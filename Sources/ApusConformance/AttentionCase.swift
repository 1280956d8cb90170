public import ApusCore

/// A use of attention: what an operator of the library would be called for.
public enum AttentionUse: String, Sendable, Hashable, CaseIterable {
  /// One request, one query row.
  case singleDecode = "single decode"
  /// One query row per request, padded KV.
  case paddedDecode = "padded decode"
  /// One query row per request, pages in compressed rows.
  case pagedDecode = "paged decode"
  /// One query row per request, pages in a block table.
  case blockDecode = "block-table decode"
  /// One request, many query rows.
  case singlePrefill = "single prefill"
  /// Ragged queries over ragged KV.
  case raggedPrefill = "ragged prefill"
  /// Ragged queries over pages.
  case pagedPrefill = "paged prefill"
  /// The same 2 to 16 query rows for each request, over pages.
  case speculative = "speculative"
  /// MLA over a latent cache.
  case mla = "mla"
}

/// How the cache of a case is held.
public enum CacheForm: Sendable, Hashable, CustomStringConvertible {
  /// Rows of one tensor.
  case ragged
  /// One slab per request.
  case padded
  /// Pages in compressed rows.
  case csr(pageSize: Int)
  /// Pages in a dense block table.
  case blockTable(pageSize: Int)

  /// Tokens per page, or nil.
  public var pageSize: Int? {
    switch self {
    case .csr(let size), .blockTable(let size): size
    case .ragged, .padded: nil
    }
  }

  /// The form's name, without sizes.
  public var name: String {
    switch self {
    case .ragged: "ragged"
    case .padded: "padded"
    case .csr: "csr"
    case .blockTable: "block table"
    }
  }

  /// `csr 16`.
  public var description: String { pageSize.map { "\(name) \($0)" } ?? name }
}

/// Granularity of a scale of a case.
public enum ScaleChoice: String, Sendable, Hashable, CaseIterable {
  /// No scale.
  case one
  /// One value.
  case tensor
  /// One value per head.
  case head
  /// One value per token and head.
  case tokenHead = "token-head"
}

/// Everything that determines an attention case but its random data.
public struct AttentionCase: Sendable, Hashable {
  /// What it is for.
  public var use: AttentionUse
  /// Heads and dimensions.
  public var shape: AttentionShape
  /// Storage types.
  public var types: AttentionTypes
  /// Latent widths for MLA.
  public var latent: LatentShape?
  /// Query rows of each request.
  public var qoLengths: [Int]
  /// Keys of each request.
  public var kvLengths: [Int]
  /// How the cache is held.
  public var form: CacheForm
  /// Token and head order.
  public var layout: KVLayout
  /// K and V (or ckv and kpe) in one tensor.
  public var isCombined: Bool
  /// MLA queries in two tensors.
  public var hasSplitQueries: Bool
  /// Some pages belong to two requests.
  public var sharesPages: Bool
  /// Gaps and swapped dimensions in the strides.
  public var hasGaps: Bool
  /// Tensors start one scalar past a 64-byte boundary.
  public var isShifted: Bool
  /// Rows before, between and after the requests' own.
  public var hasUnownedRows: Bool
  /// Causal mask.
  public var isCausal: Bool
  /// Sliding window.
  public var windowLeft: Int?
  /// Custom mask in this bit order.
  public var customMask: BitOrder?
  /// Explicit softmax scale.
  public var softmaxScale: Float?
  /// Soft cap.
  public var softCap: Float?
  /// ALiBi.
  public var hasAlibi: Bool
  /// RoPE inside the operator, with a name.
  public var rope: RotaryEmbedding?
  /// Attention sinks.
  public var hasSinks: Bool
  /// Scale of q.
  public var qScale: ScaleChoice
  /// Scale of k or of the latent.
  public var kScale: ScaleChoice
  /// Scale of v, or of kpe for MLA.
  public var vScale: ScaleChoice
  /// Scale of o.
  public var oScale: ScaleChoice
  /// o's scale drives some outputs beyond the range of o's type.
  public var saturates: Bool
  /// Whether lse is asked for.
  public var hasLSE: Bool
  /// How lse is written.
  public var convention: LSEConvention
  /// Execution options.
  public var options: ExecutionOptions
  /// The caller gives the workspace.
  public var givesWorkspace: Bool

  /// Number of requests.
  public var batch: Int { qoLengths.count }

  /// Multiply-adds of the case: Σ rows · keys · heads · (qk + vo) / 2.
  public var work: Int {
    let pairs = zip(qoLengths, kvLengths).reduce(0) { $0 + $1.0 * $1.1 }
    return pairs * shape.qoHeadCount * (shape.headDimQK + shape.headDimVO) / 2
  }

  /// Elements of q and o in use.
  public var rowElements: Int {
    qoLengths.reduce(0, +) * shape.qoHeadCount * (shape.headDimQK + shape.headDimVO)
  }

  /// Elements of K and V in use.
  public var cacheElements: Int {
    kvLengths.reduce(0, +) * shape.kvHeadCount * (shape.headDimQK + shape.headDimVO)
  }
}

extension AttentionCase: CustomStringConvertible {
  /// One line with everything that differs from the plainest case.
  public var description: String {
    var parts = ["\(use.rawValue): \(shape)", "\(types)", "qo \(qoLengths)", "kv \(kvLengths)"]
    parts.append("\(form) \(layout)")
    if let latent { parts.append("\(latent)") }
    let flags: [(Bool, String)] = [
      (isCombined, "combined"), (hasSplitQueries, "split q"), (sharesPages, "shared pages"),
      (hasGaps, "gaps"), (isShifted, "shifted"), (hasUnownedRows, "unowned rows"),
      (isCausal, "causal"), (hasAlibi, "alibi"), (hasSinks, "sinks"), (saturates, "saturating"),
      (givesWorkspace, "workspace given"),
    ]
    parts += flags.filter(\.0).map(\.1)
    if let windowLeft { parts.append("window \(windowLeft)") }
    if let customMask { parts.append("custom mask \(customMask)") }
    if let softmaxScale { parts.append("scale \(softmaxScale)") }
    if let softCap { parts.append("softcap \(softCap)") }
    if let rope { parts.append("\(rope)") }
    let scales = [("q", qScale), ("k", kScale), ("v", vScale), ("o", oScale)]
    for (name, scale) in scales where scale != .one {
      parts.append("\(name)-scale \(scale.rawValue)")
    }
    parts.append(hasLSE ? "lse \(convention)" : "no lse")
    parts.append("\(options)")
    return parts.joined(separator: ", ")
  }
}
