internal import ApusNumerics

extension KernelCatalog {
  /// Cache writes. Other types, widths and scales are the same code and are compiled when they are
  /// first asked for.
  static var append: [any ShippedKernel] {
    typealias Storing = AppendKernel.Storing
    func row(
      _ source: ElementType, _ cache: ElementType, _ storing: Storing, dim: Int = 128,
      _ lists: AppendKernel.Lists = .resolved
    ) -> AppendKernel {
      AppendKernel(
        source: source, cache: cache, keys: storing, values: storing, lists: lists,
        width: 16 / source.byteCount, keyDim: dim, valueDim: dim)
    }
    func latent(_ cache: ElementType, _ keys: Storing, _ values: Storing) -> AppendKernel {
      AppendKernel(
        source: .bf16, cache: cache, keys: keys, values: values, lists: .resolved, width: 8,
        keyDim: 512, valueDim: 64)
    }
    let copies: [AppendKernel] = [64, 128, 256].map { row(.bf16, .bf16, .copy, dim: $0) }
    let listed: [AppendKernel] = [AppendKernel.Lists.csr, .blocks].map {
      row(.bf16, .bf16, .copy, $0)
    }
    let checked: [AppendKernel] = [AppendKernel.Lists.csr, .blocks].map {
      AppendKernel(
        source: .bf16, cache: .bf16, keys: .copy, values: .copy, lists: $0, checksIndices: true,
        width: 8, keyDim: 128, valueDim: 128)
    }
    let rounded: [AppendKernel] = [
      row(.f16, .f16, .copy), row(.f32, .bf16, .round), row(.f32, .f16, .round),
      row(.bf16, .e4m3, .round), row(.bf16, .e5m2, .round), row(.f16, .e4m3, .round),
    ]
    let scaled: [AppendKernel] = [
      row(.bf16, .e4m3, .divide), row(.bf16, .e4m3, .dynamic), row(.f16, .e4m3, .divide),
      row(.bf16, .e5m2, .dynamic),
    ]
    let latents: [AppendKernel] = [
      latent(.bf16, .copy, .copy), latent(.e4m3, .divide, .divide),
      latent(.e4m3, .dynamic, .joint),
    ]
    let narrow: [AppendKernel] = [Storing.copy, .round, .dynamic].map {
      AppendKernel(
        source: .bf16, cache: $0 == .copy ? .bf16 : .e4m3, keys: $0, values: $0,
        lists: .resolved, width: 1, keyDim: 128, valueDim: 128)
    }
    return copies + listed + checked + rounded + scaled + latents + narrow
  }
}
