internal import ApusDSL

/// Every configuration that Apus ships: the rows of `apus kernels list`.
///
/// Each row is built, verified, assembled and simulated by tests; what is not listed never reaches a
/// driver from an operator.
public enum KernelCatalog {
  /// All rows, grouped by family.
  public static var all: [any ShippedKernel] {
    stream + merge + append + rope + packBits + prefill + decode + general
  }

  /// The row with a symbol.
  public static func kernel(named symbol: String) -> (any ShippedKernel)? {
    all.first { $0.symbol == symbol }
  }
}
