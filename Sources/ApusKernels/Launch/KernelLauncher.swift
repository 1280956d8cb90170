public import ApusCore
public import ApusIR

/// What runs kernels: the CUDA driver on a device, or the simulator.
///
/// Back ends turn operator calls into launches and hand them to a launcher; kernels and back ends do
/// not know which one it is.
public protocol KernelLauncher: Sendable {
  /// `cuda:0`, `simulator`.
  var name: String { get }
  /// Memory that launch addresses point into.
  var memory: MemorySpace { get }
  /// The GPU that kernels are built for.
  var target: Target { get }
  /// Multiprocessors, for the size of persistent grids and split-KV plans.
  var multiprocessorCount: Int { get }

  /// Makes kernels ready, so that `launch` finds them compiled. Several may compile at once.
  func prepare(_ kernels: [any ShippedKernel], operation: String) throws(ApusError)

  /// Enqueues launches in order on the caller's stream, without synchronisation or allocation of
  /// device memory.
  func launch(
    _ launches: [KernelLaunch], on stream: ExecutionStream, operation: String
  ) throws(ApusError)
}
