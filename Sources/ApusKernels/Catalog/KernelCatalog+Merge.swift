internal import ApusCore
internal import ApusNumerics

extension KernelCatalog {
  /// Merges of attention states. Other types, widths and conventions are the same code and are
  /// compiled when they are first asked for.
  static var merge: [any ShippedKernel] {
    typealias Form = MergeKernel.Form
    func row(
      _ form: Form, _ input: ElementType, _ output: ElementType, dim: Int = 128,
      _ convention: LSEConvention = .base2
    ) -> MergeKernel {
      MergeKernel(
        form: form, input: input, output: output, convention: convention,
        width: 16 / input.byteCount, dim: dim)
    }
    let types: [ElementType] = [.bf16, .f16, .f32]
    let wide: [MergeKernel] = Form.allCases.flatMap { form in types.map { row(form, $0, $0) } }
    let partials: [MergeKernel] = [ElementType.bf16, .f16, .e4m3].map { row(.many, .f32, $0) }
    let others: [MergeKernel] = [
      row(.pair, .bf16, .bf16, dim: 64), row(.pair, .bf16, .bf16, .natural),
      row(.pair, .bf16, .bf16, .flashMLA), row(.pair, .e4m3, .bf16), row(.pair, .e5m2, .e5m2),
      row(.many, .f32, .bf16, dim: 512),
    ]
    let narrow: [MergeKernel] = Form.allCases.map {
      MergeKernel(
        form: $0, input: .bf16, output: .bf16, convention: .base2, width: 1, dim: 128)
    }
    return wide + partials + others + narrow
  }
}
