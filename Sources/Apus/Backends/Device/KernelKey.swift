internal import ApusDSL
package import ApusKernels

/// A kernel as a key of caches: equal configurations are equal keys.
package struct KernelKey: Hashable, Sendable {
  /// The kernel.
  package let kernel: any ShippedKernel

  /// The key of a kernel.
  package init(_ kernel: any ShippedKernel) { self.kernel = kernel }

  /// The kernel's symbol.
  package var symbol: String { kernel.symbol }

  /// Equal type and equal configuration.
  package static func == (left: KernelKey, right: KernelKey) -> Bool {
    equals(left.kernel, right.kernel)
  }

  private static func equals<Left: ShippedKernel>(_ left: Left, _ right: any ShippedKernel) -> Bool
  {
    (right as? Left) == left
  }

  /// Hashes the type and the configuration.
  package func hash(into hasher: inout Hasher) {
    hasher.combine(ObjectIdentifier(type(of: kernel)))
    kernel.hash(into: &hasher)
  }
}
