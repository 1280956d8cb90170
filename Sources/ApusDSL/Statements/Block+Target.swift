public import ApusIR

extension Block {
  /// The GPU that the kernel is built for: the argument of `Kernel.build`, else the kernel's own.
  /// Bodies choose instructions by it where a newer GPU has a better one.
  public var target: Target { emitter.target }
}
