package import ApusCUDA
package import ApusCore
internal import ApusDSL
package import ApusIR
package import ApusKernels
internal import ApusPTX
internal import ApusThreads
internal import Synchronization

/// Runs kernels on one CUDA device through the NVIDIA driver.
///
/// Compiled kernels are kept in a cache of this object, keyed by the kernel's value and the context;
/// beneath it the driver keeps compiled PTX on disk (`CUDA_CACHE_PATH`, `CUDA_CACHE_MAXSIZE`,
/// `CUDA_CACHE_DISABLE`). Work goes to the caller's stream, or for `.synchronous` to a stream of
/// this object that is waited for.
package final class CUDALauncher: DeviceRuntime {
  /// The device.
  package let device: Device
  /// The device's primary context, which the CUDA runtime and PyTorch use too.
  package let context: Context
  /// What kernels are built for.
  package let target: Target
  /// How kernels become machine code.
  package let options: CUDAOptions
  let cache = ModuleCache<KernelKey, CompiledKernel>()
  let log: KernelLog
  let packs: [CubinPack]
  let willCompile: (@Sendable (any ShippedKernel, Target) -> Void)?
  private let ownStream: Stream
  /// Kernels that were compiled, by symbol.
  let made = Lock<[String: KernelKey]>([:])
  private let staging: StagingRing
  private let listStaging: ListStaging
  let planMemory: PlanMemory
  /// Blocks of the largest cluster that is not known to be refused.
  private let clusterLimit = Atomic(16)

  /// `cuda:0`.
  package var name: String { "cuda:\(device.ordinal)" }
  /// Memory of the device.
  package var memory: MemorySpace { .cuda(device: device.ordinal) }
  /// Blocks of the largest cluster that the device can run, as far as it was asked.
  package var largestCluster: Int { clusterLimit.load(ordering: .relaxed) }
  /// Streaming multiprocessors of the device.
  package var multiprocessorCount: Int { device.properties.multiprocessorCount }

  /// A launcher for a device.
  ///
  /// - Parameters:
  ///   - planChunkByteCount: what plans' memory is taken from the driver in.
  ///   - willCompile: hears of each kernel before it goes to the driver.
  /// - Throws: `ApusError.environment` in the driver's words when there is no driver, none new
  ///   enough, or no such device; `.unsupported` for a GPU older than sm_80.
  package init(
    device ordinal: Int = 0, driver: Driver? = nil, options: CUDAOptions = CUDAOptions(),
    operation: String = "CUDABackend.init", planChunkByteCount: Int = 32 << 20,
    willCompile: (@Sendable (any ShippedKernel, Target) -> Void)? = nil
  ) throws(ApusError) {
    self.willCompile = willCompile
    let log = KernelLog(options.logger)
    var packs: [CubinPack] = []
    for bytes in options.packs {
      do throws(CubinPackError) {
        packs.append(try CubinPack(bytes: bytes))
      } catch {
        throw .argument(
          ArgumentError(
            operation: operation, "packs must be files of `apus kernels pack`", found: "\(error)"))
      }
    }
    self.packs = packs
    let loaded = try wrappingDriver(operation) { () throws(CUDAError) -> Driver in
      if let driver { return driver }
      return try Driver.load { log.record($0) }
    }
    let count = try wrappingDriver(operation) { () throws(CUDAError) in try loaded.deviceCount() }
    guard (0..<count).contains(ordinal) else {
      throw .argument(
        ArgumentError(
          operation: operation, "device must be below the number of CUDA devices, \(count)",
          found: "\(ordinal)", remedy: "Check CUDA_VISIBLE_DEVICES."))
    }
    let device = try wrappingDriver(operation) { () throws(CUDAError) in
      try Device(ordinal, of: loaded)
    }
    guard let target = Target(capability: device.properties.capability) else {
      throw .unsupported(
        UnsupportedError(
          operation: operation, backend: "cuda:\(ordinal)",
          requested: "\(device.properties.name) of compute capability "
            + "\(device.properties.capability)",
          supported: "compute capability 8.0 and newer"))
    }
    let (context, stream, staging) = try wrappingDriver(operation) { () throws(CUDAError) in
      let context = try Context.primary(of: device)
      return (context, try Stream(in: context), try StagingRing(context))
    }
    self.device = device
    self.context = context
    self.target = target
    self.options = options
    self.log = log
    ownStream = stream
    self.staging = staging
    listStaging = ListStaging(context)
    planMemory = PlanMemory(context, chunkByteCount: planChunkByteCount)
  }

  // MARK: - Memory

  /// Device memory for a plan.
  package func allocate(
    byteCount: Int, operation: String
  ) throws(ApusError) -> any DeviceAllocation {
    try wrappingDriver(operation) { () throws(CUDAError) in
      try planMemory.allocate(byteCount: byteCount)
    }
  }

  /// Device memory with contents. Waits for the copy alone: it has a stream of its own.
  package func upload(
    _ ranges: [Range<Int>], of byteCount: Int, zeroCount: Int, operation: String,
    write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) -> any DeviceAllocation {
    try wrappingDriver(operation) { () throws(CUDAError) in
      let memory = try planMemory.allocate(byteCount: byteCount + zeroCount)
      if memory.byteCount == 0 { return memory }
      let whole = DeviceView(address: memory.address, byteCount: memory.byteCount)
      try context.relaxingCaptures(operation) { () throws(CUDAError) in
        try ownStream.fill(try whole.slice(at: byteCount, byteCount: zeroCount), byte: 0)
        if byteCount > 0 {
          try listStaging.send(
            ranges, of: byteCount, to: memory.address, on: ownStream, write: write)
        }
        try ownStream.synchronize()
      }
      return memory
    }
  }

  /// Pinned memory for lists of that size.
  package func reserveRewrites(byteCount: Int, operation: String) throws(ApusError) {
    try wrappingDriver(operation) { () throws(CUDAError) in
      try listStaging.reserve(byteCount: byteCount)
    }
  }

  /// Enqueues the copies of what changes in a plan's lists.
  package func rewrite(
    _ memory: any DeviceAllocation, _ ranges: [Range<Int>], of byteCount: Int,
    on stream: ExecutionStream, operation: String, write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) {
    let context = context
    let isCapturing = try wrappingDriver(operation) { () throws(CUDAError) -> Bool in
      try context.withCurrent(operation) { () throws(CUDAError) -> Bool in
        let queue = try self.stream(stream)
        // A captured copy would write the same lists at each replay.
        if try queue.isCapturing() { return true }
        try listStaging.send(ranges, of: byteCount, to: memory.address, on: queue, write: write)
        if stream == .synchronous { try wait(for: queue, operation) }
        return false
      }
    }
    guard !isCapturing else {
      throw .argument(
        ArgumentError(
          operation: operation, "the stream must not be under capture", found: "\(stream)",
          remedy: "Update between replays of the graph."))
    }
  }

  /// Copies to the host, clears, and waits.
  package func take(
    _ byteCount: Int, of memory: any DeviceAllocation, on stream: ExecutionStream, operation: String
  ) throws(ApusError) -> [UInt8]? {
    let context = context
    return try wrappingDriver(operation) { () throws(CUDAError) -> [UInt8]? in
      try context.withCurrent(operation) { () throws(CUDAError) -> [UInt8]? in
        let queue = try self.stream(stream)
        if try queue.isCapturing() { return nil }
        let view = try DeviceView(address: memory.address, byteCount: memory.byteCount)
          .slice(at: 0, byteCount: byteCount)
        let host = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 16)
        defer { host.deallocate() }
        try context.relaxingCaptures(operation) { () throws(CUDAError) in
          try queue.copy(from: view, to: host)
          try queue.fill(view, byte: 0)
          try queue.synchronize()
        }
        return [UInt8](host)
      }
    }
  }

  /// Learns that clusters above a size find no room.
  func limitClusters(to size: Int) { _ = clusterLimit.min(size, ordering: .relaxed) }

  /// The stream to enqueue on.
  package func stream(_ stream: ExecutionStream) throws(CUDAError) -> Stream {
    switch stream {
    case .synchronous: ownStream
    case .device(let handle): try Stream(borrowing: handle, in: context)
    }
  }

  /// Runs launches on the launcher's own stream and waits for them.
  func runAndWait(_ launches: LaunchSequence, _ operation: String) throws(CUDAError) {
    try launches.enqueue(on: ownStream.handle)
    try wait(for: ownStream, operation)
  }

  /// Waits for a stream that no capture uses.
  func wait(for stream: Stream, _ operation: String) throws(CUDAError) {
    try context.relaxingCaptures(operation) { () throws(CUDAError) in try stream.synchronize() }
  }

  // MARK: - Launches

  /// Compiles kernels that are not in the cache, several at once.
  package func prepare(
    _ kernels: [any ShippedKernel], operation: String
  ) throws(ApusError) {
    let keys = kernels.map(KernelKey.init)
    let failures = cache.warmUp(keys, in: context, threadCount: options.compilerThreadCount) {
      (key) throws(ApusError) in
      try self.compile(key.kernel, operation: operation)
    }
    if let first = failures.first { throw first.error }
  }

  /// Enqueues a batch: one driver call a launch, and one copy where lists come from the host.
  package func run(
    _ batch: LaunchBatch, on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    let kernels = try compiled(batch, operation: operation)
    let context = context
    var bug: InternalError?
    try wrappingDriver(operation) { () throws(CUDAError) in
      try context.withCurrent(operation) { () throws(CUDAError) in
        let queue = try self.stream(stream)
        switch batch.lists {
        case .resident(let memory):
          bug = try enqueue(batch, kernels, lists: memory.address, on: queue)
        case .host(let bytes) where bytes.isEmpty:
          bug = try enqueue(batch, kernels, lists: 0, on: queue)
        case .host(let bytes):
          let lists = try staging.begin(bytes, on: queue)
          // A large list's memory is freed in stream order, behind the launches.
          defer { withExtendedLifetime(lists) {} }
          do throws(CUDAError) {
            bug = try enqueue(batch, kernels, lists: lists.address, on: queue)
          } catch {
            // The slot goes back behind what was enqueued; the first failure is the one to report.
            try? staging.finish(lists, on: queue)
            throw error
          }
          try staging.finish(lists, on: queue)
        }
        if stream == .synchronous { try wait(for: queue, operation) }
      }
    }
    if let bug { throw .bug(InternalError(operation: operation, detail: bug.detail)) }
  }

  /// Encodes a batch whose lists are resident.
  package func pack(
    _ batch: LaunchBatch, operation: String
  ) throws(ApusError) -> (any PackedLaunches)? {
    guard case .resident(let memory) = batch.lists else { return nil }
    let kernels = try compiled(batch, operation: operation)
    let context = context
    let packed = try wrappingDriver(operation) {
      () throws(CUDAError) -> Result<LaunchSequence, InternalError> in
      try pack(batch, kernels, lists: memory.address, in: context)
    }
    switch packed {
    case .success(let launches): return CUDAPackedLaunches(launches, on: self)
    case .failure(let bug): throw .bug(InternalError(operation: operation, detail: bug.detail))
    }
  }

  /// Compilation comes first: when it fails, nothing was enqueued.
  private func compiled(
    _ batch: LaunchBatch, operation: String
  ) throws(ApusError) -> [CompiledKernel] {
    var kernels: [CompiledKernel] = []
    kernels.reserveCapacity(batch.launches.count)
    for launch in batch.launches {
      kernels.append(try compiled(launch.kernel, operation: operation))
    }
    return kernels
  }

  private func pack(
    _ batch: LaunchBatch, _ kernels: [CompiledKernel], lists: UInt64, in context: Context
  ) throws(CUDAError) -> Result<LaunchSequence, InternalError> {
    let sequence = LaunchSequence(in: context)
    for (launch, kernel) in zip(batch.launches, kernels) where launch.grid.blockCount > 0 {
      let bug = try kernel.add(
        launch, lists: lists, workspace: batch.workspace, to: sequence, in: context)
      if let bug { return .failure(bug) }
    }
    return .success(sequence)
  }

  /// Enqueues every launch, or none and returns what is wrong with one that does not fit its kernel.
  private func enqueue(
    _ batch: LaunchBatch, _ kernels: [CompiledKernel], lists: UInt64, on stream: Stream
  ) throws(CUDAError) -> InternalError? {
    switch try pack(batch, kernels, lists: lists, in: stream.context) {
    case .failure(let bug): return bug
    case .success(let sequence):
      try sequence.enqueue(on: stream.handle)
      return nil
    }
  }

  /// A compiled kernel of the cache, compiled now if it is not there.
  package func compiled(
    _ kernel: any ShippedKernel, operation: String
  ) throws(ApusError) -> CompiledKernel {
    try cache.value(for: KernelKey(kernel), in: context) { () throws(ApusError) in
      try compile(kernel, operation: operation)
    }
  }
}

extension Target {
  /// What to build for on a device: its own architecture where kernels are specific to it, and the
  /// newest forward-compatible one otherwise. Nil for devices before sm_80.
  package init?(capability: ComputeCapability) {
    switch (capability.major, capability.minor) {
    case (8, 0): self = .sm80
    case (8, 6), (8, 7): self = .sm86
    case (8, 9): self = .sm89
    case (9, 0): self = .sm90a
    case (10..., _): self = .sm89
    default: return nil
    }
  }
}

/// The encoded launches of a plan for one set of tensors.
final class CUDAPackedLaunches: PackedLaunches {
  private let launches: LaunchSequence
  private let launcher: CUDALauncher

  init(_ launches: LaunchSequence, on launcher: CUDALauncher) {
    self.launches = launches
    self.launcher = launcher
  }

  func run(on stream: ExecutionStream, operation: String) throws(ApusError) {
    do throws(CUDAError) {
      switch stream {
      case .device(let handle): try launches.enqueue(on: handle)
      case .synchronous: try launcher.runAndWait(launches, operation)
      }
    } catch {
      throw ApusError(error, operation: operation)
    }
  }
}
