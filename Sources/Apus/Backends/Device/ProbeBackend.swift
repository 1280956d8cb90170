package import ApusCore
package import ApusIR
internal import ApusKernels
internal import ApusThreads

/// A back end that can say which kernels a call would launch, and compile them ahead of it.
package protocol CompilingBackend: RoutedBackend {
  /// A back end that makes the same choices for host operands and launches nothing.
  func probe() -> ProbeBackend

  /// Compiles one kernel if it is not compiled yet.
  func prepare(_ kernel: KernelKey) throws(ApusError)

  /// What compiling a kernel costs, in any unit: the length of its code.
  func compilationWeight(of kernel: KernelKey) -> Int
}

/// Makes every choice of a device's back end, for operands in host memory, and then refuses: what
/// remains of a call is the kernels that it would have compiled and launched.
package struct ProbeBackend: RoutedBackend {
  private let runtime: ProbeRuntime
  private let engine: DeviceEngine

  package var name: String { engine.name }
  package var memory: MemorySpace { runtime.memory }

  /// A probe of a device.
  package init(target: Target, multiprocessorCount: Int, name: String = "probe") {
    runtime = ProbeRuntime(target: target, multiprocessorCount: multiprocessorCount, name: name)
    engine = DeviceEngine(runtime: runtime, observer: nil)
  }

  /// The kernels that the calls so far would have launched; those of a call that was refused for
  /// other reasons are not among them.
  package var launched: Set<KernelKey> { runtime.found.withLock { $0.launched } }
  /// The kernels that they would have compiled: those launched, and those that plans make ready.
  package var compiled: Set<KernelKey> { runtime.found.withLock { $0.launched.union($0.prepared) } }
  /// Whether a call got as far as its launches.
  package var reachedLaunch: Bool { runtime.found.withLock { $0.reachedLaunch } }

  package func support(for problem: AttentionProblem) -> Support { engine.support(for: problem) }

  package func families(for problem: AttentionProblem) -> [AttentionRoute.FamilyName] {
    engine.families(for: problem)
  }

  package func plan(
    _ problem: AttentionProblem, operation: String
  ) throws(ApusError) -> any AttentionPlan {
    try engine.plan(problem, operation: operation)
  }

  package func run(
    _ plan: any AttentionPlan, _ arguments: AttentionArguments, workspace: TensorView?,
    on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    try engine.run(plan, arguments, workspace: workspace, on: stream, operation: operation)
    throw finished(operation)
  }

  package func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try engine.append(problem, arguments, on: stream)
    throw finished("Append.run")
  }

  package func merge(_ arguments: MergeArguments, on stream: ExecutionStream) throws(ApusError) {
    try engine.merge(arguments, on: stream)
    throw finished("MergeStates.run")
  }

  package func rotate(_ arguments: RotaryArguments, on stream: ExecutionStream) throws(ApusError) {
    try engine.rotate(arguments, on: stream)
    throw finished("Rotary.run")
  }

  package func packBits(
    _ arguments: PackBitsArguments, on stream: ExecutionStream
  ) throws(ApusError) {
    try engine.packBits(arguments, on: stream)
    throw finished("PackBits.run")
  }

  private func finished(_ operation: String) -> ApusError {
    runtime.found.withLock { $0.reachedLaunch = true }
    return .unsupported(
      UnsupportedError(
        operation: operation, backend: name, requested: "results",
        supported: "the choice of kernels"))
  }
}

/// Remembers kernels and runs none.
private final class ProbeRuntime: DeviceRuntime {
  struct Found {
    var prepared: Set<KernelKey> = []
    var launched: Set<KernelKey> = []
    var reachedLaunch = false
  }

  let name: String
  let target: Target
  let multiprocessorCount: Int
  let found = Lock(Found())
  var memory: MemorySpace { .host }

  init(target: Target, multiprocessorCount: Int, name: String) {
    self.target = target
    self.multiprocessorCount = multiprocessorCount
    self.name = name
  }

  func prepare(_ kernels: [any ShippedKernel], operation: String) throws(ApusError) {
    found.withLock { $0.prepared.formUnion(kernels.map(KernelKey.init)) }
  }

  func pack(_ batch: LaunchBatch, operation: String) throws(ApusError) -> (any PackedLaunches)? {
    nil
  }

  func allocate(byteCount: Int, operation: String) throws(ApusError) -> any DeviceAllocation {
    NoMemory(byteCount: byteCount)
  }

  func upload(
    _ ranges: [Range<Int>], of byteCount: Int, zeroCount: Int, operation: String,
    write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) -> any DeviceAllocation {
    NoMemory(byteCount: byteCount + zeroCount)
  }

  func reserveRewrites(byteCount: Int, operation: String) throws(ApusError) {}

  func rewrite(
    _ memory: any DeviceAllocation, _ ranges: [Range<Int>], of byteCount: Int,
    on stream: ExecutionStream, operation: String, write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) {}

  func take(
    _ byteCount: Int, of memory: any DeviceAllocation, on stream: ExecutionStream, operation: String
  ) throws(ApusError) -> [UInt8]? { nil }

  func run(
    _ batch: LaunchBatch, on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    let kernels = batch.launches.filter { $0.grid.blockCount > 0 }.map { KernelKey($0.kernel) }
    found.withLock { $0.launched.formUnion(kernels) }
  }
}

/// An aligned address that nobody reads.
private final class NoMemory: DeviceAllocation {
  let byteCount: Int
  var address: UInt64 { 1 << 20 }

  init(byteCount: Int) { self.byteCount = byteCount }
}
