package import ApusCore
internal import ApusDSL
package import ApusIR
package import ApusKernels
internal import ApusSimulator
internal import ApusThreads

/// Runs kernels in the simulator, on host memory.
///
/// Every byte that a call's tensors may touch is mapped for its launches, and nothing else: an access
/// beside them is an error with the Swift line that made it. Any such error is a defect of a kernel
/// and is thrown as `ApusError.bug`.
package final class SimulatorLauncher: DeviceRuntime {
  /// The GPU that kernels are built for.
  package let target: Target
  /// Decides the interleaving of warps and the order of asynchronous completions.
  package let seed: UInt64
  private let simulators = Lock<[KernelKey: Simulator]>([:])

  /// `simulator`.
  package var name: String { "simulator" }
  /// Host memory.
  package var memory: MemorySpace { .host }
  /// A small number, so that persistent grids stay small.
  package let multiprocessorCount: Int

  /// A launcher.
  package init(target: Target = .sm90a, seed: UInt64 = 0, multiprocessorCount: Int = 4) {
    self.target = target
    self.seed = seed
    self.multiprocessorCount = max(multiprocessorCount, 1)
  }

  /// Host memory.
  package func allocate(
    byteCount: Int, operation: String
  ) throws(ApusError) -> any DeviceAllocation {
    try HostAllocation(byteCount: byteCount, operation: operation)
  }

  /// Host memory with contents.
  package func upload(
    _ ranges: [Range<Int>], of byteCount: Int, zeroCount: Int, operation: String,
    write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) -> any DeviceAllocation {
    let memory = try HostAllocation(byteCount: byteCount + zeroCount, operation: operation)
    let all = UnsafeMutableRawBufferPointer(start: memory.pointer, count: byteCount + zeroCount)
    all.initializeMemory(as: UInt8.self, repeating: 0)
    write(UnsafeMutableRawBufferPointer(rebasing: all[..<byteCount]))
    return memory
  }

  /// Nothing: lists are written in place.
  package func reserveRewrites(byteCount: Int, operation: String) throws(ApusError) {}

  /// Writes lists in place.
  package func rewrite(
    _ memory: any DeviceAllocation, _ ranges: [Range<Int>], of byteCount: Int,
    on stream: ExecutionStream, operation: String, write: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ApusError) {
    try requireSynchronous(stream, operation)
    guard let memory = memory as? HostAllocation, memory.byteCount >= byteCount else {
      throw .bug(InternalError(operation: operation, detail: "lists of another runtime"))
    }
    write(UnsafeMutableRawBufferPointer(start: memory.pointer, count: byteCount))
  }

  /// Reads and clears in place.
  package func take(
    _ byteCount: Int, of memory: any DeviceAllocation, on stream: ExecutionStream, operation: String
  ) throws(ApusError) -> [UInt8]? {
    try requireSynchronous(stream, operation)
    guard let memory = memory as? HostAllocation, memory.byteCount >= byteCount else {
      throw .bug(InternalError(operation: operation, detail: "memory of another runtime"))
    }
    let bytes = UnsafeMutableRawBufferPointer(start: memory.pointer, count: byteCount)
    let result = [UInt8](bytes)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    return result
  }

  private func requireSynchronous(
    _ stream: ExecutionStream, _ operation: String
  ) throws(ApusError) {
    guard stream == .synchronous else {
      throw .argument(
        ArgumentError(
          operation: operation, "the stream of back end simulator must be synchronous",
          found: "\(stream)"))
    }
  }

  /// Builds kernels that were not built before.
  package func prepare(_ kernels: [any ShippedKernel], operation: String) throws(ApusError) {
    for kernel in kernels { _ = try simulator(of: kernel, operation: operation) }
  }

  /// Nothing: a simulation costs far more than encoding its arguments.
  package func pack(
    _ batch: LaunchBatch, operation: String
  ) throws(ApusError) -> (any PackedLaunches)? { nil }

  /// Runs a batch to its end.
  package func run(
    _ batch: LaunchBatch, on stream: ExecutionStream, operation: String
  ) throws(ApusError) {
    try requireSynchronous(stream, operation)
    let lists: any DeviceAllocation =
      switch batch.lists {
      case .resident(let memory): memory
      case .host(let bytes): try upload(bytes, operation: operation)
      }
    var memory = GlobalMemory()
    let listSpan = OperandSpan(
      name: "lists", address: lists.address, byteCount: lists.byteCount, isWritable: true)
    for span in batch.operands() + [listSpan] where span.byteCount > 0 {
      guard let start = UnsafeMutableRawPointer(bitPattern: UInt(span.address)) else { continue }
      memory.map(
        span.name, UnsafeMutableRawBufferPointer(start: start, count: span.byteCount),
        isWritable: span.isWritable, isWritten: span.isWritten)
    }
    for launch in batch.launches where launch.grid.blockCount > 0 {
      let simulator = try simulator(of: launch.kernel, operation: operation)
      let arguments = launch.values.map {
        KernelArgument($0.resolved(lists: lists.address, workspace: batch.workspace))
      }
      let report = simulator.run(
        grid: GridSize(launch.grid.x, launch.grid.y, launch.grid.z), arguments: arguments,
        memory: &memory)
      if !report.errors.isEmpty {
        let lines = report.errors.map(\.description).joined(separator: "; ")
        throw .bug(
          InternalError(
            operation: operation,
            detail: "kernel \(launch.kernel.symbol) in the simulator (seed \(seed)): \(lines)"))
      }
    }
    withExtendedLifetime(lists) {}
  }

  private func simulator(
    of kernel: any ShippedKernel, operation: String
  ) throws(ApusError) -> Simulator {
    let key = KernelKey(kernel)
    if let known = simulators.withLock({ $0[key] }) { return known }
    do throws(ElaborationError) {
      let made = Simulator(
        try kernel.build(for: target), options: SimulationOptions(seed: seed))
      simulators.withLock { $0[key] = made }
      return made
    } catch {
      throw .bug(InternalError(operation: operation, detail: "\(error)"))
    }
  }
}

extension KernelArgument {
  /// The simulator's form of a launch value whose offsets are resolved.
  init(_ value: LaunchValue) {
    switch value {
    case .u32(let number): self = .scalar(.u32(number))
    case .s32(let number): self = .scalar(.s32(number))
    case .u64(let number): self = .scalar(.u64(number))
    case .f32(let number): self = .scalar(.f32(number))
    case .pointer(let address): self = .pointer(address)
    case .metadata(let offset), .workspace(let offset):
      self = .pointer(UInt64(bitPattern: Int64(offset)))
    case .tensorMap(let layout):
      self = .tensorMap(
        TensorMapDescription(
          address: layout.address, elementByteCount: layout.element.byteCount, sizes: layout.sizes,
          strides: layout.byteStrides, box: layout.box, swizzle: layout.swizzle))
    }
  }
}

/// Host memory in the place of device memory, aligned as `cuMemAlloc` aligns.
///
/// `@unchecked Sendable`: the pointer never changes; the bytes are written before the object is
/// shared, or by launches that the caller orders.
final class HostAllocation: DeviceAllocation, @unchecked Sendable {
  let pointer: UnsafeMutableRawPointer
  let byteCount: Int

  init(byteCount: Int, operation: String) throws(ApusError) {
    pointer = try Apus.allocate(byteCount: byteCount, operation: operation)
    self.byteCount = byteCount
  }

  deinit { pointer.deallocate() }

  var address: UInt64 { byteCount == 0 ? 0 : UInt64(UInt(bitPattern: pointer)) }
}
