internal import ApusCUDA
public import ApusCore
internal import ApusKernels

/// The CUDA back end: the library's GPU kernels on one device, through the NVIDIA driver alone.
///
/// Operands are views of memory of that device (`MemorySpace.cuda(device:)`). A run on
/// `.device(handle:)` enqueues on the caller's stream and neither allocates device memory nor
/// synchronises nor reads back, and may be captured into a graph; `.synchronous` runs on a stream of
/// the back end's own and waits: whatever the caller enqueued before must be done. Values that lie on
/// the device (scales per head, indices in `AppendLists`) are not checked, but for indices with
/// `CUDAOptions.checksIndices`. Plans hold copies of lists that were checked on the host.
///
/// The first run with a set of tensors validates and encodes them, later ones with the same tensors
/// only enqueue. Tensors that the planned kernels cannot take (rows that are not aligned) go to the
/// general kernels, which that first run compiles.
///
/// A captured call of an operator without a plan copies its lists (positions, pages) from a block that
/// the graph owns: any number of calls may be captured, and the blocks come back when their graphs go.
///
/// Any number of threads may use one back end, also while others capture streams in any mode. Its value
/// may be copied: copies share compiled kernels. Runs of one plan may overlap if each has a workspace of
/// its own; runs without one share the plan's, and must be ordered by one stream or by events. A plan
/// may go while its work is in flight, but must outlive the graphs that captured it.
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
    engine = DeviceEngine(
      runtime: launcher, observer: observer, checksIndices: launcher.options.checksIndices)
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
    try warmUp(for: problems, and: [])
  }

  /// Compiles what calls of operators without plans need, as `warmUp(for:)` does for planned ones:
  /// before a stream capture, for example. The tensors are looked at and not touched.
  ///
  /// - Throws: as `warmUp(for:)`, and what the calls themselves would refuse.
  public func warmUp(for calls: [PlanlessCall]) throws(ApusError) {
    try warmUp(for: [], and: calls)
  }

  private func warmUp(
    for problems: [AttentionProblem], and calls: [PlanlessCall]
  ) throws(ApusError) {
    for report in try warmUpReports(for: problems, and: calls) {
      if case .failed(let error) = report.outcome { throw error }
    }
  }

  /// Warms up and says what became of each kernel.
  package func warmUpReports(
    for problems: [AttentionProblem], and calls: [PlanlessCall]
  ) throws(ApusError) -> [KernelWarmUp] {
    let operation = "CUDABackend.warmUp"
    var kernels: [any ShippedKernel] = []
    for problem in problems {
      kernels += try engine.kernels(for: problem, operation: operation)
    }
    for call in calls { kernels += try engine.kernels(for: call) }
    return launcher.warmUp(kernels, operation: operation)
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

  /// Validates, and plans with room for every problem within a capacity.
  public func plan(
    _ problem: AttentionProblem, capacity: PlanCapacity, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try engine.plan(problem, capacity: capacity, operation: operation)
  }

  /// Validates a problem and puts its lists in the place of a plan's.
  public func update(
    _ plan: any AttentionPlan, to problem: AttentionProblem, on stream: ExecutionStream,
    operation: String
  ) throws(ApusError) {
    try engine.update(plan, to: problem, on: stream, operation: operation)
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

  /// Waits for a stream and throws what its kernels have found since the last report: for replays of
  /// captured calls. Does nothing without `CUDAOptions.checksIndices`.
  ///
  /// - Throws: `ApusError.index` for the first bad index in a list.
  public func checkIndices(on stream: ExecutionStream = .synchronous) throws(ApusError) {
    try engine.checkIndices(on: stream)
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

extension CUDABackend: CompilingBackend {
  /// A back end that makes this one's choices for host operands and launches nothing.
  package func probe() -> ProbeBackend {
    ProbeBackend(
      target: launcher.target, multiprocessorCount: launcher.multiprocessorCount, name: name)
  }

  /// Compiles one kernel if it is not compiled yet.
  package func prepare(_ kernel: KernelKey) throws(ApusError) {
    _ = try launcher.compiled(kernel.kernel, operation: "CUDABackend.prepare")
  }

  /// The length of the kernel's PTX; 0 for one that cannot be printed, which `prepare` reports.
  package func compilationWeight(of kernel: KernelKey) -> Int {
    let printed = try? CUDALauncher.print(
      kernel.kernel, target: launcher.target, operation: "CUDABackend.prepare")
    return printed?.ptx.utf8.count ?? 0
  }
}
