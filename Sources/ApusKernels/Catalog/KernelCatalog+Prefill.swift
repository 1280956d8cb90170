internal import ApusDSL
internal import ApusNumerics

extension KernelCatalog {
  /// Attention of many query tokens: what `DensePrefill.choose` picks from, and with lse also the
  /// variants that rescale at every step.
  static var prefill: [any ShippedKernel] {
    var list: [DensePrefillConfiguration] = []
    for element in [ElementType.bf16, .f16] {
      for headDim in [64, 128] {
        for isCausal in [false, true] {
          for writesLSE in [false, true] {
            let shipped = DensePrefill.shipped(
              element, headDim: headDim, isCausal: isCausal, writesLSE: writesLSE)
            list += shipped
            guard writesLSE, var exact = shipped.last else { continue }
            exact.lazyRescale = false
            exact.pingPong = true
            exact.pinnedSoftmax = .none
            list.append(exact)
          }
        }
      }
    }
    return list.map(PrefillKernel.init)
  }
}
