internal import ApusCore
internal import ApusNumerics

extension KernelCatalog {
  /// Rotary embeddings. Other types and widths are the same code and are compiled when they are
  /// first asked for.
  static var rope: [any ShippedKernel] {
    func row(
      _ type: ElementType, _ pairing: RotaryEmbedding.Pairing, _ angles: RotaryKernel.Angles,
      rotaryDim: Int = 128
    ) -> RotaryKernel {
      RotaryKernel(
        type: type, pairing: pairing, angles: angles, width: 16 / type.byteCount,
        rotaryDim: rotaryDim)
    }
    let pairings = RotaryEmbedding.Pairing.allCases
    let bf16: [RotaryKernel] = pairings.flatMap { pairing in
      RotaryKernel.Angles.allCases.map { row(.bf16, pairing, $0) }
    }
    let others: [RotaryKernel] = [ElementType.f16, .f32, .e4m3].flatMap { type in
      pairings.map { row(type, $0, .computed) }
    }
    let narrow: [RotaryKernel] = pairings.map {
      RotaryKernel(type: .bf16, pairing: $0, angles: .computed, width: 1, rotaryDim: 128)
    }
    return bf16 + [row(.bf16, .half, .computed, rotaryDim: 64)] + others + narrow
  }
}
