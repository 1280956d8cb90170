internal import ApusCore
internal import ApusIR
internal import ApusNumerics

extension KernelCatalog {
  /// Attention of few query tokens: the configurations that `DecodeLaunch` chooses for common
  /// models on an H200. Others (soft cap, sinks, scales per head) are the same code with features on.
  static var decode: [any ShippedKernel] { decodeRows }

  static var decodeRows: [DecodeKernel] {
    var rows: [DecodeKernel] = []
    for row in chosenRows + coreRows + variantRows where !rows.contains(row) { rows.append(row) }
    return rows
  }

  /// What problems get, from one request to a full GPU.
  private static var chosenRows: [DecodeKernel] {
    var rows: [DecodeKernel] = []
    for types in [
      AttentionTypes(q: .bf16), AttentionTypes(q: .f16), AttentionTypes(q: .bf16, kv: .e4m3),
      AttentionTypes(q: .bf16, kv: .e5m2),
    ] {
      for (batch, length) in [(16, 8192), (64, 1024), (128, 8192)] {
        rows.append(chosen(types, batch, length))
        // Pages of 64 tokens bring the tiles of a step in one box.
        if types.kv.byteCount == 1 { rows.append(chosen(types, batch, length, pageSize: 64)) }
      }
    }
    let bf16 = AttentionTypes(q: .bf16)
    let e4m3 = AttentionTypes(q: .bf16, kv: .e4m3)
    for types in [bf16, e4m3] {
      // One request and few: clusters.
      for (batch, length) in [(1, 1024), (1, 2048), (1, 4096), (2, 1024), (4, 2048)] {
        rows.append(chosen(types, batch, length))
      }
      for queries in [2, 4, 8, 16] { rows.append(chosen(types, 16, 8192, queries: queries)) }
      for headDim in [64, 80, 96, 256] { rows.append(chosen(types, 16, 8192, headDim: headDim)) }
      // Any page size, and every GPU from sm_80.
      rows.append(chosen(types, 16, 8192, pageSize: 1))
      rows.append(chosen(types, 16, 8192, target: .sm80))
      rows.append(chosen(types, 16, 8192) { $0.modification.alibiSlopes = alibiSlopes })
      // A tree of drafted tokens.
      rows.append(
        chosen(types, 16, 8192, queries: 8) {
          $0.mask.custom = CustomMask(bytes: [], byteIndptr: RaggedIndptr(uniform: 0, batch: 16))
        })
    }
    rows.append(chosen(bf16, 16, 8192) { $0.geometry = .padded(maxLength: 8192, lengths: lengths) })
    rows.append(chosen(bf16, 16, 8192, headDim: 72))
    rows.append(chosen(bf16, 16, 4096, headDim: 512))
    rows.append(chosen(AttentionTypes(q: .f32), 16, 4096))
    return rows
  }

  private static var lengths: [Int] { [Int](repeating: 8192, count: 16) }
  private static var alibiSlopes: [Float] { [Float](repeating: 0.5, count: 32) }

  /// The configuration of a batch of equal requests with 32 query heads and 8 KV heads.
  private static func chosen(
    _ types: AttentionTypes, _ batch: Int, _ length: Int, headDim: Int = 128, pageSize: Int = 16,
    queries: Int = 1, target: Target = .sm90a, _ change: (inout AttentionProblem) -> Void = { _ in }
  ) -> DecodeKernel {
    var problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: 32, kvHeadCount: 8, headDimQK: headDim), types: types,
      qoIndptr: RaggedIndptr(uniform: queries, batch: batch),
      geometry: .paged(
        PageTable(
          pageSize: pageSize, blocks: [], pagesPerRequest: 0,
          lengths: [Int](repeating: length, count: batch))))
    change(&problem)
    return DecodeSelection.choose(problem, target: target, multiprocessors: 132, overlaps: true)
      .kernel
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

  /// Changes that `DecodeTuning` measures: pages looked up a step ahead, clusters of 16, a ring of one
  /// step, tiles of more rows.
  private static var variantRows: [DecodeKernel] {
    func row(_ mode: DecodeMode, stages: Int = 3) -> DecodeKernel {
      DecodeKernel(
        queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 128, mode: mode,
        tilesPerStep: 1, stages: stages)
    }
    var many = row(.tokens)
    many.rowTiles = 2
    return [
      row(.tokens), row(.heads), row(.cluster(16), stages: 1), row(.cluster(8), stages: 1), many,
    ]
  }
}
