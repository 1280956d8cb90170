extension KernelCatalog {
  /// Read and copy kernels: n arrays read for one written, or none.
  static var stream: [any ShippedKernel] {
    [1, 2].map { StreamKernel(reads: $0, writes: false) }
      + [1, 2, 3, 4, 8].map { StreamKernel(reads: $0, writes: true) }
  }
}
