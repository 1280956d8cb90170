internal import ApusCore
internal import ApusIR
internal import ApusNumerics

/// Which configuration a problem gets: pure functions of the problem and the GPU.
enum DecodeSelection {
  /// The first requirement that the problem breaks, as `requirement; found value`.
  static func refusal(_ problem: AttentionProblem, target: Target) -> String? {
    let shape = problem.shape
    let types = problem.types
    let isQuery = types.q == .bf16 || types.q == .f16 && types.kv != .bf16
    let rows = (0..<problem.batch).map { problem.qoLength($0) }.max() ?? 0
    let longest = (0..<problem.batch).map { problem.kvLength($0) }.max() ?? 0
    var pageSize = 1
    if case .paged(let table) = problem.geometry { pageSize = table.pageSize }
    var rule = AccessRule()
    rule.require(problem.latent == nil, "K and V must be tensors of their own", found: "MLA")
    rule.require(
      [.f16, .bf16, .e4m3, .e5m2].contains(types.kv), "K and V must be f16, bf16, e4m3 or e5m2",
      found: "\(types.kv)")
    rule.require(
      isQuery, "q must be bf16, or f16 beside caches other than bf16", found: "\(types)")
    rule.require(
      [.f16, .bf16, .f32].contains(types.o), "o must be f16, bf16 or f32", found: "\(types.o)")
    rule.require(
      shape.headDimQK == shape.headDimVO && shape.headDimQK % 32 == 0 && shape.headDimQK <= 256,
      "headDimQK and headDimVO must be equal multiples of 32 up to 256", found: "\(shape)")
    rule.require(
      rows * shape.groupSize <= 128, "query tokens × group must be at most 128",
      found: "\(rows) × \(shape.groupSize)")
    rule.require(
      problem.mask.custom == nil, "the mask must be causal, a window or none", found: "custom")
    rule.require(
      problem.modification.alibiSlopes == nil, "ALiBi must be off", found: "slopes")
    rule.require(problem.modification.rope == nil, "RoPE must have been applied", found: "rope")
    rule.require(
      problem.softmaxScale > 0, "softmaxScale must be positive", found: "\(problem.softmaxScale)")
    rule.require(
      allows(problem.options.precision), "precision must be fast", found: "\(problem.options)")
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
    // The fewest rows of an item are 8, the smallest split is a step of 16 keys.
    let violation =
      rule.violation
      ?? WorkListLimit.refusal(
        problem, rows: 8, heads: shape.kvHeadCount, leastSplit: Int(Int32.max))
    return violation.map { "decode: \($0)" }
  }

  /// P and q are rounded to at most 11 bits, results within a relative L2 error of 4·10⁻³.
  private static func allows(_ precision: Precision) -> Bool {
    switch precision {
    case .fast: true
    case .accurate: false
    case .automatic(let tolerance): tolerance >= 4e-3
    }
  }

  /// The configuration of a supported problem.
  ///
  /// Work of a few steps for each block is latency: *cluster* exchanges partial states fastest.
  /// Heads of a page beside each other keep DRAM pages open, so *heads* wins once there are rows
  /// enough to fill the GPU; longer FP8 contexts then take four tiles a step. Otherwise *tokens*.
  static func choose(
    _ problem: AttentionProblem, target: Target, multiprocessors: Int, overlaps: Bool
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
    let heads = candidate(.heads, loader: loader)
    if let reason = headsRefusal(problem, heads) {
      rejected.append(KernelRejection(symbol: heads.symbol, reason: reason))
      let cluster = candidate(.cluster(clusterSize(problem)), loader: loader)
      if let reason = clusterRefusal(problem, cluster, multiprocessors) {
        rejected.append(KernelRejection(symbol: cluster.symbol, reason: reason))
        return (candidate(.tokens, loader: loader), rejected)
      }
      return (cluster, rejected)
    }
    let long = candidate(.heads, isLong: true, loader: loader)
    let mean = meanLength(problem)
    if heads.isFP8, loader == .tensorMap, heads.rowTiles == 1, heads.tilesPerStep < 4,
      mean >= 4096
    {
      return (long, rejected)
    }
    return (heads, rejected)
  }

  /// Blocks of a cluster: FP8 and single heads have too few steps for 16.
  private static func clusterSize(_ problem: AttentionProblem) -> Int {
    problem.shape.groupSize == 1 || problem.types.kv.byteCount == 1 ? 8 : 16
  }

  private static func clusterRefusal(
    _ problem: AttentionProblem, _ kernel: DecodeKernel, _ multiprocessors: Int
  ) -> String? {
    if kernel.loader != .tensorMap { return "clusters need tensor copies" }
    if kernel.rowTiles > 1 { return "clusters need at most 8 query rows for a KV head" }
    let options = problem.options
    if options.disablesSplitKV || options.splitSize != nil || options.isBatchInvariant {
      return "clusters split every row alike; found \(options)"
    }
    let rows =
      (0..<problem.batch).reduce(0) { $0 + (problem.qoLength($1) > 0 ? 1 : 0) }
      * problem.shape.kvHeadCount
    if rows * 16 > multiprocessors {
      return "requests × KV heads × 16 must be at most \(multiprocessors); found \(rows * 16)"
    }
    let work = DecodeWork(problem, kernel)
    let tiles = zip(work.steps, work.units).reduce(0) { $0 + $1.0 * $1.1 } * kernel.tilesPerStep
    return tiles <= 8 * multiprocessors
      ? nil : "16-token tiles must be at most \(8 * multiprocessors); found \(tiles)"
  }

  private static func meanLength(_ problem: AttentionProblem) -> Int {
    let total = (0..<problem.batch).reduce(0) { $0 + problem.kvLength($1) }
    return total / max(1, problem.batch)
  }

  private static func tensorMapRefusal(_ problem: AttentionProblem, target: Target) -> String? {
    if target < .sm90a { return "tensor copies need sm_90a; found \(target)" }
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
    let most =
      ((0..<problem.batch).map { problem.qoLength($0) }.max() ?? 0) * problem.shape.groupSize
    if most > kernel.rows, kernel.headDim <= 128 {
      return "query tokens × group must be at most \(kernel.rows); found \(most)"
    }
    let rows = (0..<problem.batch).reduce(0) { sum, request in
      sum + (problem.qoLength(request) * problem.shape.groupSize + kernel.rows - 1) / kernel.rows
    }
    let items = rows * heads / kernel.warps
    return items >= 64
      ? nil : "rows × KV heads ÷ \(kernel.warps) must be at least 64; found \(items)"
  }

  /// Steps of a ring beside the merge buffer and the rest of the shared memory.
  private static func mostStages(_ kernel: DecodeKernel, _ target: Target) -> Int {
    var empty = kernel
    empty.stages = 0
    let ring = min(192 << 10, target.maxSharedBytesPerBlock - empty.sharedByteCount - 512)
    return max(0, ring) / (kernel.warps * kernel.stageBytes)
  }

  /// Tiles for `rows` query rows of a KV head, as far as registers hold them.
  private static func rowTiles(_ rows: Int, _ headDim: Int, _ mode: DecodeMode) -> Int {
    if rows <= 8 || headDim > 160 { return 1 }
    return rows <= 16 || headDim > 128 || mode == .heads ? 2 : 4
  }

  /// Ring and tiles that suit types, dimension and the GPU's shared memory.
  static func configuration(
    _ problem: AttentionProblem, target: Target, mode: DecodeMode, loader: DecodeLoader,
    isLong: Bool, overlaps: Bool
  ) -> DecodeKernel {
    let shape = problem.shape
    let lengths = (0..<problem.batch).map { problem.qoLength($0) }
    let rows = (lengths.max() ?? 1) * shape.groupSize
    var isPaged = false
    var pageTiles = 1
    if case .paged(let table) = problem.geometry {
      isPaged = true
      pageTiles = table.pageSize / 16
    }
    var kernel = DecodeKernel(
      queryType: problem.types.q, cacheType: problem.types.kv, outputType: problem.types.o,
      headDim: shape.headDimQK, rowTiles: rowTiles(rows, shape.headDimQK, mode), mode: mode,
      loader: loader,
      isPaged: isPaged, tilesPerStep: 1, stages: 1, overlaps: overlaps)
    kernel.hasRanges =
      lengths.contains { $0 > 1 } || rows > kernel.rows || problem.mask.windowLeft != nil
    kernel.hasSoftCap = problem.modification.activeSoftCap != nil
    if kernel.rowBytes > 384 { kernel.warps = 4 }
    let most = 4 / kernel.rowTiles
    kernel.tilesPerStep = isLong ? 4 : max(1, min(most, 256 / kernel.rowBytes))
    if loader == .tensorMap {
      // A box must not straddle pages; without pages the outermost axis is the request's.
      while kernel.tilesPerBox < kernel.tilesPerStep, pageTiles % (2 * kernel.tilesPerBox) == 0 {
        kernel.tilesPerBox *= 2
      }
    }
    var stages = mostStages(kernel, target)
    while stages == 0, kernel.warps > 2 {
      kernel.warps /= 2
      stages = mostStages(kernel, target)
    }
    kernel.stages =
      isLong || mode.clusterSize > 1
      ? 1 : max(1, min(stages, 4, DecodeSeeds.unitOffset / kernel.boxes))
    return kernel
  }
}
