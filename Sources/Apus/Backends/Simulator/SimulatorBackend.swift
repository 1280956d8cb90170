public import ApusCore
public import ApusIR
internal import ApusKernels

/// The GPU kernels on the CPU: each instruction executed as the kernel language defines it, and every
/// broken rule (bounds, races, missing waits) reported with the Swift line that broke it.
///
/// Operands live in host memory and runs are synchronous. It is some 10⁵ times slower than a GPU:
/// for checking kernels at small shapes, not for work.
public struct SimulatorBackend: RoutedBackend {
  /// What runs the kernels.
  package let launcher: SimulatorLauncher
  private let engine: DeviceEngine

  /// `simulator`.
  public var name: String { engine.name }
  /// Host memory.
  public var memory: MemorySpace { launcher.memory }

  /// A simulated GPU.
  ///
  /// - Parameters:
  ///   - target: the GPU that kernels are built for.
  ///   - seed: decides the interleaving of warps and the order of asynchronous completions.
  ///   - checksIndices: whether kernels check what lists hold (`CUDAOptions.checksIndices`). Without,
  ///     an access beside the operands is an error of the simulator's.
  public init(target: Target = .sm90a, seed: UInt64 = 0, checksIndices: Bool = false) {
    self.init(SimulatorLauncher(target: target, seed: seed), checksIndices: checksIndices)
  }

  /// A back end over a launcher.
  package init(
    _ launcher: SimulatorLauncher, observer: (@Sendable (String) -> Void)? = nil,
    checksIndices: Bool = false
  ) {
    self.launcher = launcher
    engine = DeviceEngine(runtime: launcher, observer: observer, checksIndices: checksIndices)
  }

  /// The same back end, telling `observer` the symbol of each kernel that it launches.
  package func observing(_ observer: @escaping @Sendable (String) -> Void) -> SimulatorBackend {
    SimulatorBackend(launcher, observer: observer, checksIndices: engine.indexGuard != nil)
  }

  /// Whether there are kernels for a problem, and which problems have them.
  public func support(for problem: AttentionProblem) -> Support { engine.support(for: problem) }

  /// The families of kernels that compute a problem, the fastest first.
  package func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName] {
    engine.families(for: problem)
  }

  /// Validates and plans.
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

  /// Validates the tensors and runs a plan to its end.
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
