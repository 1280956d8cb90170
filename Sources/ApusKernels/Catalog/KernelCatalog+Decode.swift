internal import ApusNumerics

extension KernelCatalog {
  /// Attention of few query tokens: the configurations that `DecodeLaunch` chooses for common
  /// models. Others (window, several query tokens, soft cap, sinks, scales per head) are the same
  /// code with features on.
  static var decode: [any ShippedKernel] { decodeRows }

  static var decodeRows: [DecodeKernel] {
    var rows: [DecodeKernel] = []
    for (cache, steps, stages) in [
      (ElementType.bf16, 1, 3), (.f16, 1, 3), (.e4m3, 2, 3), (.e5m2, 2, 3),
    ] {
      let query: ElementType = cache == .f16 ? .f16 : .bf16
      for mode in [DecodeMode.tokens, .heads] {
        let row = DecodeKernel(
          queryType: query, cacheType: cache, outputType: query, headDim: 128, mode: mode,
          tilesPerStep: steps, stages: stages)
        rows.append(row)
        if steps > 1 {
          // Pages of 32 tokens and more bring whole steps in one box.
          var wide = row
          wide.tilesPerBox = steps
          rows.append(wide)
        }
      }
      if cache == .e4m3 {
        for box in [1, 4] {
          rows.append(
            DecodeKernel(
              queryType: query, cacheType: cache, outputType: query, headDim: 128, mode: .heads,
              tilesPerStep: 4, tilesPerBox: box, stages: 1))
        }
      }
    }
    for (cache, steps, size) in [(ElementType.bf16, 1, 16), (.bf16, 1, 8), (.e4m3, 2, 8)] {
      rows.append(
        DecodeKernel(
          queryType: .bf16, cacheType: cache, outputType: .bf16, headDim: 128,
          mode: .cluster(size), tilesPerStep: steps, stages: 1))
    }
    let base = rows[0]
    // More than 8 query rows for a KV head; several query tokens or a window.
    var many = base
    many.rowTiles = 2
    rows.append(many)
    var ranges = base
    ranges.hasRanges = true
    rows.append(ranges)
    many.hasRanges = true
    rows.append(many)
    many.rowTiles = 4
    many.stages = 2
    rows.append(many)
    // Other head dimensions.
    rows.append(
      DecodeKernel(
        queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 64, mode: .tokens,
        tilesPerStep: 2, stages: 3))
    rows.append(
      DecodeKernel(
        queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 256, mode: .tokens,
        warps: 4, tilesPerStep: 1, stages: 3))
    // Padded and ragged caches.
    var plain = base
    plain.isPaged = false
    rows.append(plain)
    // Any page size, and every GPU from sm_80.
    for (cache, steps) in [(ElementType.bf16, 1), (.e4m3, 2)] {
      rows.append(
        DecodeKernel(
          queryType: .bf16, cacheType: cache, outputType: .bf16, headDim: 128, mode: .tokens,
          loader: .gather, tilesPerStep: steps, stages: 2))
    }
    return rows + coreRows + variantRows
  }

  /// Ordinary cores: f32, and what asks for every product in f32.
  private static var coreRows: [DecodeKernel] {
    var rows: [DecodeKernel] = []
    for (type, cache, count) in [
      (ElementType.f32, ElementType.f32, 1), (.f32, .f32, 4), (.bf16, .bf16, 1), (.bf16, .bf16, 4),
      (.bf16, .e4m3, 8),
    ] {
      rows.append(
        DecodeKernel(
          queryType: type, cacheType: cache, outputType: type, headDim: 128,
          arithmetic: .cores(rows: count), mode: .tokens, warps: cache == .f32 ? 4 : 8,
          tilesPerStep: cache == .e4m3 ? 2 : 1, stages: 3))
    }
    // A tree of drafted tokens: custom masks, pair by pair.
    rows.append(
      DecodeKernel(
        queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 128,
        arithmetic: .cores(rows: 2), mode: .tokens, tilesPerStep: 1, stages: 3, hasRanges: true,
        mask: .little))
    return rows
  }

  /// Slopes, dimensions with padding, and pages that are looked up a window ahead.
  private static var variantRows: [DecodeKernel] {
    func row(_ mode: DecodeMode) -> DecodeKernel {
      DecodeKernel(
        queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 128, mode: mode,
        tilesPerStep: 1, stages: 3)
    }
    var slopes = row(.tokens)
    slopes.hasRanges = true
    slopes.hasSlopes = true
    let padded = DecodeKernel(
      queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 72, mode: .tokens,
      loader: .gather, tilesPerStep: 1, stages: 3)
    let windows = [DecodeMode.tokens, .heads].map { mode in
      var window = row(mode)
      window.lookahead = .window
      return window
    }
    return [slopes, padded] + windows
  }
}
