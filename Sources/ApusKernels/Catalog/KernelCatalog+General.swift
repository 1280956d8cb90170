internal import ApusCore
internal import ApusNumerics

extension KernelCatalog {
  /// Attention of any shape, type and option: every blocking with the types that common problems have,
  /// and the features on those that leave fewest registers. FP8 queries and outputs are the same code,
  /// compiled when they are first asked for.
  static var general: [any ShippedKernel] {
    typealias Features = GeneralAttentionKernel.Features
    func row(
      _ kv: ElementType, dim: Int = 128, vo: Int? = nil, rows: Int = 8, width: Int = 8,
      _ features: Features = []
    ) -> GeneralAttentionKernel {
      GeneralAttentionKernel(
        types: AttentionTypes(q: .bf16, kv: kv), features: features, width: width, rows: rows,
        headDimQK: dim, headDimVO: vo ?? dim)
    }
    let plain: [GeneralAttentionKernel] =
      [1, 4, 8].map { row(.bf16, rows: $0) } + [.f16, .f32, .e4m3, .e5m2].map { row($0) }
      + [row(.bf16, dim: 64), row(.bf16, dim: 256), row(.f32, dim: 256), row(.e4m3, dim: 256)]
      + [2, 4].map { row(.bf16, dim: 512, rows: $0) }
    let latent: [GeneralAttentionKernel] = [
      row(.bf16, dim: 576, vo: 512, rows: 4, [.latent, .options]),
      row(.bf16, dim: 576, vo: 512, rows: 4, .latent),
      row(.f16, dim: 576, vo: 512, rows: 1, .latent),
      row(.f32, dim: 576, vo: 512, rows: 2, .latent),
      row(.e4m3, dim: 576, vo: 512, rows: 2, .latent),
      row(.e5m2, dim: 576, vo: 512, rows: 2, [.latent, .options]),
    ]
    let featured: [GeneralAttentionKernel] = [ElementType.bf16, .f32, .e4m3].flatMap { type in
      [
        row(type, rows: 8, .options), row(type, rows: 4, .rope),
        row(type, dim: 256, rows: 4, [.options, .rope]),
      ]
    }
    let uneven: [GeneralAttentionKernel] = [
      row(.bf16, dim: 60, width: 1), row(.bf16, dim: 100, width: 1), row(.bf16, dim: 250, width: 1),
      row(.bf16, dim: 570, vo: 512, rows: 2, width: 1, .latent),
      row(.e4m3, dim: 570, vo: 512, rows: 2, width: 1, [.latent, .options]),
      row(.e4m3, dim: 250, rows: 4, width: 1, [.options, .rope]),
    ]
    let merges: [GeneralMergeKernel] = [128, 256, 512].map {
      GeneralMergeKernel(output: .bf16, headDimVO: $0)
    }
    return plain + latent + featured + uneven + merges
  }
}
