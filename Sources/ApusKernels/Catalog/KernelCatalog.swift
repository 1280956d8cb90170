internal import ApusDSL

/// The configurations that tests build, verify, assemble and simulate: the rows of
/// `apus kernels list`.
///
/// They are the ones that common problems get, and the telling corners of each family. Other types,
/// widths and features are the same code under another configuration, compiled when they are first
/// asked for; conformance runs on random ones of them.
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
