internal import Apus
internal import ApusCUDA
internal import ApusKernels
internal import ApusNumerics
internal import Synchronization

/// One device, its stream and the memory that a suite's cases share.
final class GPUBenchSession {
  /// Runs the public operators.
  let backend: CUDABackend
  /// Where everything is enqueued.
  let stream: ApusCUDA.Stream
  /// Takes times on `stream`.
  let timer: GPUTimer
  private var inputs = BenchInputs()
  private var pools: [ElementType: GPUPool] = [:]
  private var outputs: [OwnedBuffer] = []
  /// Rates of streaming kernels in this session.
  var streamRates: [StreamKernel: Double] = [:]
  private let launched: LaunchedKernels

  /// Symbols of the kernels that were launched since they were asked for.
  private final class LaunchedKernels: Sendable {
    let symbols = Mutex<[String]>([])
  }

  /// A class around a buffer, so that an array can hold it.
  private final class OwnedBuffer {
    let buffer: DeviceBuffer
    init(_ buffer: consuming DeviceBuffer) { self.buffer = buffer }
  }

  /// Opens a device.
  init(device: Int) throws {
    let launched = LaunchedKernels()
    self.launched = launched
    backend = try CUDABackend(device: device).observing { symbol in
      launched.symbols.withLock { $0.append(symbol) }
    }
    stream = try ApusCUDA.Stream(in: backend.launcher.context)
    timer = GPUTimer(stream: stream)
  }

  /// The device.
  var device: Device { backend.launcher.device }
  /// The stream as operators take it.
  var queue: ExecutionStream { .device(handle: stream.handle) }
  private var memory: MemorySpace { backend.memory }

  /// Makes room for inputs of a type: operands of a suite are cut out of this pool.
  func reserve(_ type: ElementType, byteCount: Int) throws {
    if let pool = pools[type], pool.byteCount >= byteCount { return }
    // Pools of large caches do not fit beside each other.
    pools = pools.filter { $0.key != type && byteCount < 1 << 33 }
    pools[type] = try GPUPool(type, byteCount: byteCount, inputs: &inputs, on: stream)
  }

  /// A dense standard normal tensor.
  func normal(_ type: ElementType, _ shape: [Int]) throws -> TensorView {
    let count = shape.reduce(1, *) * type.byteCount
    try reserve(type, byteCount: count)
    guard let pool = pools[type] else { throw GPUBenchError.noPool(type) }
    return view(try pool.take(byteCount: count), ScalarType(type), shape)
  }

  /// A dense output of its own memory; it starts as NaN.
  func output(_ type: ScalarType, _ shape: [Int]) throws -> TensorView {
    let count = shape.reduce(1, *) * type.byteCount
    let buffer = try DeviceBuffer(byteCount: max(count, 16), in: stream.context)
    try stream.fill(buffer.view, byte: 0xFF)
    let result = view(buffer.view, type, shape)
    outputs.append(OwnedBuffer(buffer))
    return result
  }

  /// A call of these launches, with their lists uploaded once.
  func resident(_ plan: LaunchPlan) throws -> GPUCall {
    let launcher = backend.launcher
    let lists = try launcher.upload(plan.metadata, operation: "apus bench")
    let batch = LaunchBatch(plan.launches, lists: .resident(lists)) { [] }
    return { [queue] in
      try withExtendedLifetime(lists) {
        try launcher.run(batch, on: queue, operation: "apus bench")
      }
    }
  }

  /// Sets every byte of an output to 0.
  func clear(_ view: TensorView) throws {
    try stream.fill(
      DeviceView(address: UInt64(view.address), byteCount: view.byteCount), byte: 0)
  }

  /// Frees the outputs of the last case.
  func dropOutputs() throws {
    try stream.synchronize()
    outputs = []
  }

  /// Pages of requests of these lengths, each at least 1, in random order.
  func pages(lengths: [Int], pageSize: Int) -> PageTable {
    let counts = lengths.map { ($0 + pageSize - 1) / pageSize }
    var offsets = [0]
    for count in counts { offsets.append(offsets[offsets.count - 1] + count) }
    var random = BenchRandom(seed: 11)
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(offsets),
      indices: (0..<Int32(offsets[offsets.count - 1])).shuffled(using: &random),
      lastPageLength: zip(lengths, counts).map { Int32($0 - ($1 - 1) * pageSize) })
  }

  /// Symbols of the kernels that `call` launches.
  func symbols(of call: GPUCall) throws -> [String] {
    launched.symbols.withLock { $0 = [] }
    try call()
    try stream.synchronize()
    return launched.symbols.withLock { $0 }
  }

  private func view(_ memory: DeviceView, _ type: ScalarType, _ shape: [Int]) -> TensorView {
    TensorView(
      address: UInt(memory.address), byteCount: memory.byteCount, scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape), memory: self.memory)
  }
}

/// What a GPU suite cannot do.
enum GPUBenchError: Error, CustomStringConvertible {
  /// Inputs of a type that no pool holds.
  case noPool(ElementType)
  /// No case is left.
  case noCases(suite: String, filters: [String])

  var description: String {
    switch self {
    case .noPool(let type): "apus bench: a pool must exist; found none for \(type)."
    case .noCases(let suite, let filters):
      "apus bench \(suite): --filter must leave a case; found none for \(filters)."
    }
  }
}
