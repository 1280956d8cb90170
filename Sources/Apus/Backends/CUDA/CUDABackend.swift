internal import ApusCUDA
public import ApusCore
internal import ApusKernels

/// The CUDA back end: the library's GPU kernels on one device, through the NVIDIA driver alone.
///
/// Operands are views of memory of that device (`MemorySpace.cuda(device:)`). A run on
/// `.device(handle:)` enqueues on the caller's stream and neither allocates device memory nor
/// synchronises nor reads back, and may be captured into a graph; `.synchronous` runs on a stream of
/// the back end's own and waits: whatever the caller enqueued before must be done. Values that lie on
/// the device (scales per head, for example) are not checked.
///
/// The first run with a set of tensors validates and encodes them, later ones with the same tensors
/// only enqueue. Tensors that the planned kernels cannot take (rows that are not aligned) go to the
/// general kernels, which that first run compiles.
///
/// A captured run of an operator without a plan keeps the lists (positions, pages) of its capture, and
/// one back end has room for sixteen such lists. Runs of one plan must follow each other: they share
/// counters in the plan's memory. A plan must outlive the runs and graphs that use it.
///
/// Any number of threads may use one back end. Its value may be copied: copies share compiled kernels.
/// Runs of one plan must be ordered among themselves (by one stream, or events): decode counts in the
/// plan's lists, and runs without a workspace of the caller share the plan's.
public struct CUDABackend: RoutedBackend {
  /// What runs the kernels.
  package let launcher: CUDALauncher
  private let engine: DeviceEngine

  /// `cuda:0`.
  public var name: String { engine.name }
  /// Memory of the device.
  public var memory: MemorySpace { launcher.memory }

  /// Opens a device.
  ///
  /// - Parameters:
  ///   - device: position among the devices that the process may use (`CUDA_VISIBLE_DEVICES`).
  ///   - options: compilation and logging.
  /// - Throws: `ApusError.environment` in the driver's words when there is no driver or none new
  ///   enough, `.argument` when there is no such device, `.unsupported` for a GPU before sm_80.
  public init(device: Int = 0, options: CUDAOptions = CUDAOptions()) throws(ApusError) {
    self.init(try CUDALauncher(device: device, options: options))
  }

  /// A back end over a launcher, for tests with another driver.
  package init(
    _ launcher: CUDALauncher, observer: (@Sendable (String) -> Void)? = nil
  ) {
    self.launcher = launcher
    engine = DeviceEngine(runtime: launcher, observer: observer)
  }

  /// The same back end, telling `observer` the symbol of each kernel that it launches.
  package func observing(_ observer: @escaping @Sendable (String) -> Void) -> CUDABackend {
    CUDABackend(launcher, observer: observer)
  }

  /// Whether there are kernels for a problem, and which problems have them.
  public func support(for problem: AttentionProblem) -> Support { engine.support(for: problem) }

  /// Compiles what problems need, several kernels at once, and tests each new kernel on a small
  /// problem of its own (`CUDAOptions.runsSelfTests`): the driver's compiler is part of every result.
  ///
  /// - Throws: the first failure: `.environment` naming the kernel where the driver refuses it or
  ///   makes wrong code of it, `.unsupported` and `.argument` as `plan` does.
  public func warmUp(for problems: [AttentionProblem]) throws(ApusError) {
    let operation = "CUDABackend.warmUp"
    var kernels: [any ShippedKernel] = []
    for problem in problems {
      kernels += try engine.kernels(for: problem, operation: operation)
    }
    for report in launcher.warmUp(kernels, operation: operation) {
      if case .failed(let error) = report.outcome { throw error }
    }
  }

  /// The families of kernels that compute a problem, the fastest first.
  package func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName] {
    engine.families(for: problem)
  }

  /// Validates and plans: chooses and compiles kernels, and places the host lists on the device.
  public func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try engine.plan(problem, operation: operation)
  }

  /// Validates the tensors and enqueues a plan.
  public func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    try engine.run(plan, arguments, workspace: workspace, on: stream, operation: operation)
  }

  /// Writes new tokens into a paged cache.
  public func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try engine.append(problem, arguments, on: stream)
  }

  /// Merges attention states.
  public func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    try engine.merge(arguments, on: stream)
  }

  /// Rotates q and k.
  public func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    try engine.rotate(arguments, on: stream)
  }

  /// Packs booleans.
  public func packBits(
    _ arguments: PackBitsArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try engine.packBits(arguments, on: stream)
  }
}
