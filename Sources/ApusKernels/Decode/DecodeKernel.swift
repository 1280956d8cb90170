internal import ApusDSL
public import ApusIR
public import ApusNumerics

/// How the warps of a block share the work of decode.
public enum DecodeMode: Sendable, Hashable {
  /// The warps interleave over the tokens of one KV head and merge in shared memory.
  case tokens
  /// Warp w owns KV head `first + w` of the same tokens, so that a block reads whole contiguous
  /// pages; partial states belong to warps, and the block has no barrier in its loop.
  case heads
  /// As `tokens`, with the blocks of a cluster as the splits of a row: each pushes its partial state
  /// piece by piece into the shared memory of the block that finishes the piece. For work so small
  /// that latency is all; at most 8 query rows.
  case cluster(Int)

  /// Whether the warps of a block interleave over tokens.
  var interleavesTokens: Bool { self != .heads }

  /// Blocks of a cluster.
  var clusterSize: Int {
    if case .cluster(let size) = self { size } else { 1 }
  }

  /// The word in symbols.
  var word: String {
    switch self {
    case .tokens: "tokens"
    case .heads: "heads"
    case .cluster(let size): "cluster\(size)"
    }
  }
}

/// How keys and values reach shared memory.
public enum DecodeLoader: String, Sendable, Hashable {
  /// Tensor copies of 16-token boxes, signalled by mbarriers; sm_90a.
  case tensorMap
  /// `cp.async` of 16 bytes a lane: any page size, every GPU.
  case gather
}

/// How far ahead of its copies a warp reads page lists and records; with tensor copies.
public enum DecodeLookahead: String, Sendable, Hashable, CaseIterable {
  /// One step: the page of a step is read while the one before it is copied.
  case step
  /// A window of 32 steps, and the record of the item behind it: no step waits for the plan.
  case window
}

/// When the kernel that follows in the stream may begin to launch.
public enum DecodeDependents: String, Sendable, Hashable, CaseIterable {
  /// At once: its blocks wait on multiprocessors where they fit beside this kernel's.
  case start
  /// After this block's last step: blocks that wait do not take part in the race for shared memory
  /// and issue slots.
  case end
}

/// Attention of few query rows per request: split-KV over a persistent grid, merged in the same
/// launch, tensor cores with swapped operands.
///
/// For the query rows of one KV head, Sᵀ = K·Qᵀ and Oᵀ = Vᵀ·Pᵀ by `mma.m16n8k16`: 16 tokens are M,
/// the GQA group is N, padded to 8 · `rowTiles`. Each warp has a ring of `stages` steps of
/// `tilesPerStep` 16-token tiles and refills it itself: no producer warp, no empty barriers.
/// P is rounded to the products' type. Partial states are (R, L, A) with weights 2^(x − R),
/// x = score · log₂e, L their sum, A their sum with V; they merge in a fixed order, so results do
/// not depend on timing.
public struct DecodeKernel: ShippedKernel {
  /// Type of q: f16 or bf16; f32 with ordinary cores.
  public var queryType: ElementType
  /// Type of K and V: f16, bf16, e4m3 or e5m2; f32 with ordinary cores.
  public var cacheType: ElementType
  /// Type of o: f16, bf16 or f32.
  public var outputType: ElementType
  /// Dimension of q, k, v and o: a multiple of 8 (of 16 for bytes), of 32 bytes with tensor copies.
  public var headDim: Int
  /// Tiles of 8 query rows that a warp holds: 1, 2 up to headDim 160, 4 up to headDim 128
  /// (registers).
  public var rowTiles: Int
  /// What multiplies.
  public var arithmetic: DecodeArithmetic
  /// What the warps divide.
  public var mode: DecodeMode
  /// How tiles are loaded.
  public var loader: DecodeLoader
  /// Whether tokens are found through page lists; otherwise they are rows of one tensor.
  public var isPaged: Bool
  /// Warps of a block; a power of two.
  public var warps: Int
  /// 16-token tiles of one step of a warp.
  public var tilesPerStep: Int
  /// Neighbouring tiles that one tensor copy brings.
  public var tilesPerBox: Int
  /// Steps in a warp's ring.
  public var stages: Int
  /// Whether query rows see different keys: several query tokens, causal mask or window.
  public var hasRanges: Bool
  /// Whether scores pass cap · tanh(x / cap).
  public var hasSoftCap: Bool
  /// Whether ALiBi is added to scores; with ranges.
  public var hasSlopes: Bool
  /// Order of the bits of a custom mask, nil for none; with ranges.
  public var mask: DecodeMaskOrder?
  /// Whether a sink logit joins each head's denominator.
  public var hasSinks: Bool
  /// Whether q, K, V or o have a scale for each head.
  public var hasHeadScales: Bool
  /// Programmatic dependent launch: the plan is read before the kernel waits for its predecessor.
  public var overlaps: Bool
  /// When the next kernel may begin to launch, if this one overlaps its predecessor.
  public var dependents: DecodeDependents
  /// How far ahead pages are looked up.
  public var lookahead: DecodeLookahead
  /// Whether the query rows of an item are brought to L2 while the item before it is computed; with
  /// windows, and where query rows see the same keys.
  public var prefetchesQueries: Bool
  /// Whether K and V stay in L2 like other data, for other query rows that read them at the same time;
  /// else they are the first to leave it. With tensor copies.
  public var keepsKeys: Bool

  /// A configuration; the defaults are those of one query token without modifications.
  public init(
    queryType: ElementType, cacheType: ElementType, outputType: ElementType, headDim: Int,
    rowTiles: Int = 1, arithmetic: DecodeArithmetic = .tensorCores, mode: DecodeMode,
    loader: DecodeLoader = .tensorMap, isPaged: Bool = true,
    warps: Int = 8, tilesPerStep: Int, tilesPerBox: Int = 1, stages: Int,
    hasRanges: Bool = false, hasSoftCap: Bool = false, hasSlopes: Bool = false,
    mask: DecodeMaskOrder? = nil, hasSinks: Bool = false,
    hasHeadScales: Bool = false, overlaps: Bool = true, dependents: DecodeDependents = .start,
    lookahead: DecodeLookahead = .step, prefetchesQueries: Bool = false, keepsKeys: Bool = false
  ) {
    self.queryType = queryType
    self.cacheType = cacheType
    self.outputType = outputType
    self.headDim = headDim
    self.rowTiles = rowTiles
    self.arithmetic = arithmetic
    self.mode = mode
    self.loader = loader
    self.isPaged = isPaged
    self.warps = warps
    self.tilesPerStep = tilesPerStep
    self.tilesPerBox = tilesPerBox
    self.stages = stages
    self.hasRanges = hasRanges
    self.hasSoftCap = hasSoftCap
    self.hasSlopes = hasSlopes
    self.mask = mask
    self.hasSinks = hasSinks
    self.hasHeadScales = hasHeadScales
    self.overlaps = overlaps && loader == .tensorMap
    self.dependents = dependents
    self.lookahead = lookahead
    self.prefetchesQueries = prefetchesQueries
    self.keepsKeys = keepsKeys
  }

  /// `.decode`.
  public var family: KernelFamily { .decode }

  /// sm_90a with tensor copies, sm_80 without.
  public var target: Target { loader == .tensorMap ? .sm90a : .sm80 }

  /// From `target` on, those whose blocks have the shared memory.
  public var targets: [Target] {
    Target.allCases.filter { $0 >= target && sharedByteCount <= $0.maxSharedBytesPerBlock }
  }

  /// One block on each multiprocessor.
  public var launch: LaunchBounds {
    LaunchBounds(threads: warps * 32, clusterSize: mode.clusterSize)
  }

  /// Architecture, operation, types, shape and features.
  public var symbol: String {
    var parts = [
      loader == .tensorMap ? "sm90" : "sm80", "decode", mode.word,
      "\(queryType)", "\(cacheType)", "\(outputType)", "d\(headDim)",
      arithmetic == .tensorCores ? "n\(8 * rowTiles)" : arithmetic.word,
      "w\(warps)", "t\(tilesPerStep)x\(stages)",
    ]
    if tilesPerBox > 1 { parts.append("box\(tilesPerBox)") }
    if !isPaged { parts.append("rows") }
    if hasRanges { parts.append("ranges") }
    if hasSoftCap { parts.append("cap") }
    if hasSlopes { parts.append("alibi") }
    if let mask { parts.append("mask\(mask)") }
    if hasSinks { parts.append("sinks") }
    if hasHeadScales { parts.append("scales") }
    if loader == .tensorMap && !overlaps { parts.append("alone") }
    if dependents != .start { parts.append("late") }
    if lookahead != .step { parts.append("\(lookahead)") }
    if prefetchesQueries { parts.append("preq") }
    if keepsKeys { parts.append("keep") }
    return parts.joined(separator: "_")
  }
}

extension DecodeKernel {
  /// Query rows of a block's item at most.
  var rows: Int {
    if case .cores(let rows) = arithmetic { rows } else { 8 * rowTiles }
  }
  /// Blocks that a multiprocessor runs at once: two of 4 warps for tiles of 32 rows, else one.
  public var blocksPerMultiprocessor: Int { rowTiles == 4 && warps == 4 ? 2 : 1 }
  /// Whether query fragments are in shared memory: registers hold those of two tiles at most.
  var sharesQueries: Bool { rowTiles > 2 }
  /// KV heads of a block's item.
  var headsPerItem: Int { mode == .heads ? warps : 1 }
  /// Tensor copies of K, and of V, in one step.
  var boxes: Int { tilesPerStep / tilesPerBox }
  /// Bytes of a token's K or V in shared memory: pairs of 16-byte chunks.
  var rowBytes: Int { (headDim * cacheType.byteCount + 31) / 32 * 32 }
  /// 16-byte chunks of a token's K or V in device memory.
  var rowChunks: Int { headDim * cacheType.byteCount / 16 }
  /// Bytes of 16 tokens of K or V.
  var tileBytes: Int { 16 * rowBytes }
  /// Bytes of a step: its K tiles, then its V tiles.
  var stageBytes: Int { 2 * tilesPerStep * tileBytes }
  /// Whether K and V are bytes.
  var isFP8: Bool { cacheType == .e4m3 || cacheType == .e5m2 }
  /// Type of the products' operands.
  var productElement: Op.MatrixElement { cacheType == .bf16 ? .bf16 : .f16 }
  /// log₂ of P's factor: binary16 has few exponents below 1, so that P lies in 0…2^8 there.
  var weightShift: Float { productElement == .f16 ? 8 : 0 }
  /// Permutation of 16-byte chunks in a tile's rows.
  var swizzle: Swizzle {
    rowBytes % 128 == 0 ? .bytes128 : rowBytes % 64 == 0 ? .bytes64 : .bytes32
  }
  /// Pieces of `swizzle.rowBytes` in a token's row.
  var panels: Int { rowBytes / swizzle.rowBytes }
  /// Bands of 16 dimensions, padding included.
  var bands: Int { rowBytes / (16 * cacheType.byteCount) }
  /// Floats from one row of the merge buffer to the next: 4 more than needed, against conflicts.
  var mergePitch: Int { headDim + 4 }

  /// Bytes of a block's ring, merge buffer and barriers.
  var sharedByteCount: Int {
    let queries = sharesQueries ? rows * (2 * headDim + 4) : 0
    let inbox = mode.clusterSize > 1 ? 64 * headDim + 16 : 0
    return warps * (stages * (stageBytes + 8) + 8 * (mergePitch + 2) * 4) + 32 + inbox
      + queries
  }

  /// What a step costs beside its work when an item begins: query load, merge, output.
  var itemOverhead: Int {
    mode == .heads ? max(1, (4 - tilesPerStep) / 2) : max(1, 8 / tilesPerStep)
  }
}
