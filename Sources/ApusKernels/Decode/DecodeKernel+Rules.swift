internal import ApusDSL
internal import ApusNumerics

extension DecodeKernel {
  /// The rules that the configuration breaks, as `requirement; found value`; none for one that can be
  /// built.
  var violations: [String] {
    [typeViolation, shapeViolation, rowViolation, pipelineViolation, clusterViolation]
      .compactMap { $0 }
  }

  private var typeViolation: String? {
    let isOutput = [.f16, .bf16, .f32].contains(outputType)
    let found = "found \(queryType), \(cacheType), \(outputType)"
    switch arithmetic {
    case .cores:
      return isOutput && [.f16, .bf16, .f32].contains(queryType)
        ? nil : "q and o must be f16, bf16 or f32; " + found
    case .tensorCores:
      let isCache = [.f16, .bf16, .e4m3, .e5m2].contains(cacheType)
      let isQuery = queryType == .bf16 || queryType == .f16 && cacheType != .bf16
      return isOutput && isCache && isQuery
        ? nil
        : "tensor cores must have 16-bit queries that the products hold, 16- or 8-bit caches and f16, "
          + "bf16 or f32 outputs; " + found
    }
  }

  private var shapeViolation: String? {
    switch arithmetic {
    case .cores(let rows):
      return [1, 2, 4, 8].contains(rows) && rowTiles == 1 && headDim <= (rows > 4 ? 256 : 512)
        ? nil
        : "ordinary cores must have 1, 2 or 4 rows up to headDim 512, or 8 up to 256; found "
          + "\(rows), \(headDim)"
    case .tensorCores:
      let mostTiles = headDim > 160 ? 1 : headDim > 128 || mode == .heads ? 2 : 4
      return headDim <= 256 && [1, 2, 4].contains(rowTiles) && rowTiles <= mostTiles
        ? nil
        : "tensor cores must have headDim up to 256 and rowTiles 1, 2 up to headDim 160, or 4 up to "
          + "headDim 128 in tokens mode; found \(headDim), \(rowTiles), \(mode)"
    }
  }

  private var rowViolation: String? {
    if (hasSlopes || mask != nil) && !hasRanges {
      return "slopes and masks must come with ranges; found none"
    }
    // Rows in shared memory are pairs of chunks; tensor copies cannot pad.
    let isRow = headDim > 0 && headDim % (isFP8 ? 16 : 8) == 0
    return isRow && (loader == .gather || headDim * cacheType.byteCount == rowBytes)
      ? nil
      : "headDim must be a multiple of 8, of 16 for bytes, and of 32 bytes with tensor copies; found "
        + "\(headDim)"
  }

  private var pipelineViolation: String? {
    let isPipeline =
      warps > 0 && warps & (warps - 1) == 0 && tilesPerBox > 0 && tilesPerStep % tilesPerBox == 0
      && (1...4).contains(stages) && stages * boxes <= DecodeSeeds.unitOffset
      && (!sharesQueries || rowTiles <= warps)
    return isPipeline
      ? nil
      : "warps must be a power of two, steps whole boxes, and the ring at most 4 steps and 12 boxes; "
        + "found \(warps), \(tilesPerStep) by \(tilesPerBox), \(stages)"
  }

  private var clusterViolation: String? {
    let size = mode.clusterSize
    if size == 1 { return nil }
    // Each block of a cluster finishes at most a piece for each thread.
    let isCluster = rowTiles == 1 && loader == .tensorMap && size <= 16
    return isCluster && headDim * 2 % size == 0 && headDim * 2 / size <= 32 * warps
      ? nil
      : "clusters must have one tile of rows, tensor copies and equal shares of at most a piece for "
        + "each thread; found \(rowTiles), \(loader), \(mode), \(warps) warps"
  }
}
