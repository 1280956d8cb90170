internal import ApusCore
internal import ApusNumerics

extension KernelCatalog {
  /// Attention of any shape, type and option. Other types, widths and features are the same code and
  /// are compiled when they are first asked for.
  static var general: [any ShippedKernel] {
    typealias Features = GeneralAttentionKernel.Features
    func row(
      _ q: ElementType, _ kv: ElementType, dim: Int = 128, vo: Int? = nil, rows: Int = 8,
      width: Int = 8, _ features: Features = []
    ) -> GeneralAttentionKernel {
      GeneralAttentionKernel(
        types: AttentionTypes(q: q, kv: kv), features: features, width: width, rows: rows,
        headDimQK: dim, headDimVO: vo ?? dim)
    }
    let plain: [GeneralAttentionKernel] = [
      row(.bf16, .bf16), row(.f32, .f32), row(.bf16, .bf16, .pages),
      row(.bf16, .bf16, rows: 1, .pages), row(.bf16, .bf16, dim: 64, rows: 4, .pages),
      row(.bf16, .bf16, dim: 256, .pages), row(.bf16, .e4m3, .pages),
      row(.bf16, .bf16, dim: 192, vo: 128),
    ]
    let latent: [GeneralAttentionKernel] = [
      row(.bf16, .bf16, dim: 576, vo: 512, rows: 4, [.pages, .latent]),
      row(.f32, .e4m3, dim: 576, vo: 512, rows: 4, [.pages, .latent]),
    ]
    let all: Features = [
      .pages, .softCap, .alibi, .ropeHalf, .maskLittle, .keyTokenScales, .valueTokenScales,
    ]
    let others: [GeneralAttentionKernel] = [
      row(.bf16, .bf16, rows: 4, [.maskLittle]), row(.bf16, .bf16, rows: 4, [.pages, .softCap]),
      row(.bf16, .bf16, rows: 4, [.pages, .ropeInterleaved]),
      row(.bf16, .e4m3, [.pages, .keyTokenScales, .valueTokenScales]),
      row(.bf16, .e4m3, rows: 4, all), row(.bf16, .bf16, width: 1, .pages),
      row(.bf16, .bf16, dim: 576, vo: 512, rows: 2, width: 1, [.pages, .latent]),
      row(.f32, .e4m3, dim: 256, rows: 4, width: 1, all),
    ]
    let merges: [GeneralMergeKernel] = [
      (ElementType.bf16, 8, 128), (.f16, 8, 128), (.bf16, 4, 512),
    ]
    .map { GeneralMergeKernel(output: $0.0, rows: $0.1, headDimVO: $0.2) }
    return plain + latent + others + merges
  }
}
