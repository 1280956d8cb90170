internal import ApusCore

extension KernelCatalog {
  /// Both bit orders.
  static var packBits: [any ShippedKernel] {
    BitOrder.allCases.map { PackBitsKernel(bitOrder: $0) }
  }
}
