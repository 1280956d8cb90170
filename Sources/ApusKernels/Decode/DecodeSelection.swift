internal import ApusCore
internal import ApusIR
internal import ApusNumerics

/// Which configuration a problem gets: pure functions of the problem and the GPU.
enum DecodeSelection {
  /// The first requirement that the problem breaks, as `requirement; found value`.
  static func refusal(_ problem: AttentionProblem, target: Target) -> String? {
    let shape = problem.shape
    let types = problem.types
    let rows = problem.qoIndptr.lengths.max() ?? 0
    let longest = problem.geometry.lengths.max() ?? 0
    var pageSize = 1
    if case .paged(let table) = problem.geometry { pageSize = table.pageSize }
    var rule = AccessRule()
    rule.require(problem.latent == nil, "K and V must be tensors of their own", found: "MLA")
    rule.require(
      [.f16, .bf16, .f32].contains(types.q), "q must be f16, bf16 or f32", found: "\(types.q)")
    rule.require(
      [.f16, .bf16, .f32].contains(types.o), "o must be f16, bf16 or f32", found: "\(types.o)")
    let multiple = types.kv.byteCount == 1 ? 16 : 8
    let isDim = shape.headDimQK <= 256 || shape.headDimQK == 512
    rule.require(
      shape.headDimQK == shape.headDimVO && shape.headDimQK % multiple == 0 && isDim,
      "headDimQK and headDimVO must be equal multiples of \(multiple) up to 256, or 512",
      found: "\(shape)")
    rule.require(
      rows * shape.groupSize <= 128, "query tokens × group must be at most 128",
      found: "\(rows) × \(shape.groupSize)")
    // Bits are counted in 32 bits.
    let maskBytes = problem.mask.custom?.bytes.count ?? 0
    rule.require(
      maskBytes < 1 << 29, "custom masks must be below 2^29 bytes", found: "\(maskBytes)")
    rule.require(problem.modification.rope == nil, "RoPE must have been applied", found: "rope")
    rule.require(
      problem.softmaxScale > 0, "softmaxScale must be positive", found: "\(problem.softmaxScale)")
    rule.require(
      problem.options.useTensorCores != .always || tensorCoreRefusal(problem) == nil,
      tensorCoreRefusal(problem) ?? "", found: "useTensorCores: always")
    rule.require(
      shape.kvHeadCount <= 0xFFFF && problem.batch <= 0xFFFF,
      "KV heads and requests must be at most 65535",
      found: "\(shape.kvHeadCount) and \(problem.batch)")
    rule.require(
      longest < (1 << 32) / pageSize - 64 && pageSize <= 1 << 20,
      "keys of a request × page size must be below 2^32", found: "\(longest) × \(pageSize)")
    rule.require(
      !problem.options.isBatchInvariant || shape.kvHeadCount % 8 == 0,
      "batch invariance needs a multiple of 8 KV heads", found: "\(shape.kvHeadCount)")
    rule.require(
      longest < Int(Int32.max) - 64, "keys of a request must be below 2^31 - 64",
      found: "\(longest)")
    // Items have 2 rows if there are as many, the smallest split is a step of 16 keys.
    let violation =
      rule.violation
      ?? WorkListLimit.refusal(
        problem, rows: 2, heads: shape.kvHeadCount, leastSplit: Int(Int32.max))
    return violation.map { "decode: \($0)" }
  }

  /// The configuration of a supported problem.
  ///
  /// Work of a few steps for each block is latency: *cluster* exchanges partial states fastest.
  /// Heads of a page beside each other keep DRAM pages open, so *heads* wins once there are rows
  /// enough to fill the GPU; longer FP8 contexts then take four tiles a step. Otherwise *tokens*.
  static func choose(
    _ problem: AttentionProblem, target: Target, multiprocessors: Int, largestCluster: Int = 16,
    overlaps: Bool
  ) -> (kernel: DecodeKernel, rejected: [KernelRejection]) {
    var rejected: [KernelRejection] = []
    func candidate(
      _ mode: DecodeMode, isLong: Bool = false, loader: DecodeLoader
    ) -> DecodeKernel {
      configuration(
        problem, target: target, mode: mode, loader: loader, isLong: isLong, overlaps: overlaps)
    }
    var loader = DecodeLoader.tensorMap
    let tensorMapRefusal = tensorMapRefusal(problem, target: target)
    if let reason = tensorMapRefusal {
      rejected.append(
        KernelRejection(
          symbol: candidate(.tokens, loader: .tensorMap).symbol, reason: reason))
      loader = .gather
    }
    var heads = candidate(.heads, loader: loader)
    if let warps = wholeItemWarps(problem, heads, multiprocessors) {
      heads.warps = warps
      heads.stages = ringStages(heads, target: target)
    }
    if let reason = headsRefusal(problem, heads) {
      rejected.append(KernelRejection(symbol: heads.symbol, reason: reason))
      let size = min(clusterSize(problem), largestCluster)
      let cluster = candidate(.cluster(max(size, 2)), loader: loader)
      let refusal =
        size < clusterSize(problem)
        ? "the GPU must run clusters of \(clusterSize(problem)) blocks; found \(largestCluster)"
        : clusterRefusal(problem, cluster, multiprocessors)
      if let reason = refusal {
        rejected.append(KernelRejection(symbol: cluster.symbol, reason: reason))
        return (candidate(.tokens, loader: loader), rejected)
      }
      return (cluster, rejected)
    }
    let long = candidate(.heads, isLong: true, loader: loader)
    let mean = meanLength(problem)
    if heads.isFP8, heads.arithmetic == .tensorCores, loader == .tensorMap, heads.rowTiles == 1,
      heads.tilesPerStep < 4, !problem.options.isBatchInvariant, mean >= 4096
    {
      return (long, rejected)
    }
    return (heads, rejected)
  }

  /// Fewer warps of heads mode, if they make as many items as there are blocks to fill: no row is
  /// split then.
  private static func wholeItemWarps(
    _ problem: AttentionProblem, _ kernel: DecodeKernel, _ multiprocessors: Int
  ) -> Int? {
    let rows = rowCount(problem)
    let warps = kernel.warps / 2
    // The kernel of a batch-invariant plan depends on nothing but shapes.
    guard kernel.warps == 8, !problem.options.isBatchInvariant,
      problem.shape.kvHeadCount % warps == 0, meanLength(problem) <= 2048,
      rows / kernel.warps < multiprocessors * 3 / 4,
      (multiprocessors * 3 / 4...multiprocessors).contains(rows / warps)
    else { return nil }
    return warps
  }

  /// Blocks of a cluster: enough of them to keep the memory busy, few enough to merge fast.
  private static func clusterSize(_ problem: AttentionProblem) -> Int {
    let rows = rowCount(problem)
    return rows <= 11 ? 8 : rows <= 31 ? 4 : 2
  }

  private static func clusterRefusal(
    _ problem: AttentionProblem, _ kernel: DecodeKernel, _ multiprocessors: Int
  ) -> String? {
    if let reason = clusterOptionRefusal(problem, kernel, multiprocessors) { return reason }
    let lengths = problem.geometry.lengths
    let longest = lengths.max() ?? 0
    if longest > meanLength(problem) * 5 / 4 + 16 {
      return "the longest request must be at most 5/4 of the mean; found \(longest)"
    }
    if kernel.mode.clusterSize == 2 { return nil }
    let bytes = lengths.reduce(0, +) * problem.shape.kvHeadCount * 2 * kernel.rowBytes
    return bytes <= 17 << 20
      ? nil : "keys and values must be at most 17 MB; found \(bytes >> 20)"
  }

  /// Why clusters do not do a problem at all, or have more blocks than there is room for.
  static func clusterOptionRefusal(
    _ problem: AttentionProblem, _ kernel: DecodeKernel, _ multiprocessors: Int
  ) -> String? {
    if kernel.loader != .tensorMap { return "clusters need tensor copies" }
    if kernel.rowTiles > 1 { return "clusters need at most 8 query rows for a KV head" }
    let options = problem.options
    if options.disablesSplitKV || options.splitSize != nil || options.isBatchInvariant {
      return "clusters split every row alike; found \(options)"
    }
    let blocks = rowCount(problem) * kernel.mode.clusterSize
    return blocks <= max(multiprocessors, 16)
      ? nil
      : "requests × KV heads × \(kernel.mode.clusterSize) must be at most \(multiprocessors); found "
        + "\(blocks)"
  }

  private static func rowCount(_ problem: AttentionProblem) -> Int {
    problem.qoIndptr.lengths.count { $0 > 0 } * problem.shape.kvHeadCount
  }

  private static func meanLength(_ problem: AttentionProblem) -> Int {
    problem.geometry.lengths.reduce(0, +) / max(1, problem.batch)
  }

  static func tensorMapRefusal(_ problem: AttentionProblem, target: Target) -> String? {
    if target < .sm90a { return "tensor copies need sm_90a; found \(target)" }
    let rowBytes = problem.shape.headDimQK * problem.types.kv.byteCount
    if rowBytes % 32 != 0 { return "rows must be multiples of 32 bytes; found \(rowBytes)" }
    if case .paged(let table) = problem.geometry, table.pageSize % 16 != 0 {
      return "page size must be a multiple of 16; found \(table.pageSize)"
    }
    return nil
  }

  private static func headsRefusal(
    _ problem: AttentionProblem, _ kernel: DecodeKernel
  ) -> String? {
    let heads = problem.shape.kvHeadCount
    if heads % kernel.warps != 0 {
      return "KV heads must be a multiple of \(kernel.warps); found \(heads)"
    }
    if problem.options.isBatchInvariant { return nil }
    let queries = problem.qoIndptr.lengths
    let most = (queries.max() ?? 0) * problem.shape.groupSize
    if most > kernel.rows, kernel.headDim <= 128 || kernel.arithmetic != .tensorCores {
      return "query tokens × group must be at most \(kernel.rows); found \(most)"
    }
    let rows = queries.reduce(0) {
      $0 + ($1 * problem.shape.groupSize + kernel.rows - 1) / kernel.rows
    }
    let longest = problem.geometry.lengths.max() ?? 0
    let mean = meanLength(problem)
    if longest > 8 * mean {
      return "the longest request must be at most 8 times the mean; found \(longest), \(mean)"
    }
    let items = rows * heads / kernel.warps
    return items >= 64
      ? nil : "rows × KV heads ÷ \(kernel.warps) must be at least 64; found \(items)"
  }

  /// Steps of a ring beside the merge buffer and the rest of the shared memory.
  static func mostStages(_ kernel: DecodeKernel, sharedBytes: Int) -> Int {
    var empty = kernel
    empty.stages = 0
    let ring = min(192 << 10, sharedBytes - empty.sharedByteCount - 512)
    return max(0, ring) / (kernel.warps * kernel.stageBytes)
  }

  /// Tiles for `rows` query rows of a KV head, as far as registers hold them.
  private static func rowTiles(_ rows: Int, _ headDim: Int, _ mode: DecodeMode) -> Int {
    if rows <= 8 || headDim > 160 { return 1 }
    return rows <= 16 || headDim > 128 || mode == .heads ? 2 : 4
  }

  /// Steps of `tiles`, in boxes as large as pages allow.
  static func setTiles(_ kernel: inout DecodeKernel, _ tiles: Int, _ problem: AttentionProblem) {
    kernel.tilesPerStep = tiles
    kernel.tilesPerBox = 1
    guard kernel.loader == .tensorMap, case .paged(let table) = problem.geometry else { return }
    // A box must not straddle pages; without pages the outermost axis is the request's.
    let pageTiles = table.pageSize / 16
    while kernel.tilesPerBox < tiles, pageTiles % (2 * kernel.tilesPerBox) == 0 {
      kernel.tilesPerBox *= 2
    }
  }

  /// Ring and tiles that suit types, dimension and the GPU's shared memory.
  static func configuration(
    _ problem: AttentionProblem, target: Target, mode: DecodeMode, loader: DecodeLoader,
    isLong: Bool, overlaps: Bool
  ) -> DecodeKernel {
    let shape = problem.shape
    let lengths = problem.qoIndptr.lengths
    let rows = (lengths.max() ?? 1) * shape.groupSize
    var isPaged = false
    if case .paged = problem.geometry { isPaged = true }
    let arithmetic = arithmetic(problem)
    let isTensor = arithmetic == .tensorCores
    // Tiles of rows times tiles of tokens that registers hold; bits of masks take some.
    let mostTiles = problem.mask.custom == nil ? 4 : 2
    var kernel = DecodeKernel(
      queryType: problem.types.q, cacheType: problem.types.kv, outputType: problem.types.o,
      headDim: shape.headDimQK,
      rowTiles: isTensor ? min(rowTiles(tiledRows(problem), shape.headDimQK, mode), mostTiles) : 1,
      arithmetic: arithmetic,
      mode: mode, loader: loader, isPaged: isPaged, tilesPerStep: 1, stages: 1,
      overlaps: overlaps)
    kernel.hasRanges =
      lengths.contains { $0 > 1 } || rows > kernel.rows || problem.mask.windowLeft != nil
      || problem.mask.custom != nil || problem.modification.alibiSlopes != nil
    kernel.hasSlopes = problem.modification.alibiSlopes != nil
    kernel.mask = problem.mask.custom.map { $0.bitOrder == .little ? .little : .big }
    kernel.hasSoftCap = problem.modification.activeSoftCap != nil
    if kernel.rowBytes > 384 { kernel.warps = 4 }
    // Ordinary cores run their code once for each tile of a step; registers hold 16-bit copies of
    // what tensor cores multiply.
    let most = isTensor ? (kernel.isFP8 && mostTiles == 4 ? 8 : mostTiles) / kernel.rowTiles : 2
    setTiles(&kernel, isLong ? 4 : max(1, min(most, 4, 256 / kernel.rowBytes)), problem)
    while kernel.warps > 2, mostStages(kernel, sharedBytes: target.maxSharedBytesPerBlock) == 0 {
      kernel.warps /= 2
    }
    // Query tokens beyond a block's rows read the same keys again: beside each other, from L2.
    if isTensor, mode == .tokens, kernel.rowTiles == 4, rows > kernel.rows, loader == .tensorMap {
      kernel.warps = 4
    }
    setPipeline(&kernel, problem, target: target, isLong: isLong)
    return kernel
  }

  /// Ring, lookups and launch of dependents, by what `apus bench gpu-decode --tune` printed.
  private static func setPipeline(
    _ kernel: inout DecodeKernel, _ problem: AttentionProblem, target: Target, isLong: Bool
  ) {
    kernel.stages = isLong ? 1 : ringStages(kernel, target: target)
    guard kernel.loader == .tensorMap else { return }
    let size = kernel.mode.clusterSize
    if size == 1 {
      // 32 rows of two FP8 tiles leave no registers for a window.
      kernel.lookahead = kernel.rowTiles == 4 && kernel.tilesPerStep > 1 ? .step : .window
      kernel.prefetchesQueries = !kernel.hasRanges
      kernel.keepsKeys =
        (problem.qoIndptr.lengths.max() ?? 1) * problem.shape.groupSize
        > kernel.rows
      if kernel.arithmetic == .tensorCores, kernel.headDim < 128, kernel.isFP8 {
        kernel.stages = min(kernel.stages, 2)
        kernel.dependents = .end
      }
      return
    }
    if size == 2 {
      kernel.stages = min(kernel.stages, 2)
      kernel.lookahead = .window
      return
    }
    // Blocks of the next launch would take part in the race for a multiprocessor's memory.
    kernel.dependents = .end
    let share = size * kernel.warps * kernel.tilesPerStep * 16
    let steps = (meanLength(problem) + share - 1) / share
    kernel.stages = min(kernel.stages, steps <= 1 || steps > 2 && !kernel.isFP8 ? 1 : 2)
    if steps > 1, kernel.isFP8 { kernel.lookahead = .window }
  }

  /// Steps of a ring that shared memory holds, for all blocks of a multiprocessor.
  private static func ringStages(_ kernel: DecodeKernel, target: Target) -> Int {
    let most = mostStages(
      kernel,
      sharedBytes: (target.maxSharedBytesPerBlock + 1024) / kernel.blocksPerMultiprocessor - 1024)
    return max(1, min(most, 4, DecodeSeeds.unitOffset / kernel.boxes))
  }
}
