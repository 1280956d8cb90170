internal import Apus
internal import ApusCUDA
internal import ApusKernels
internal import ApusNumerics
internal import ApusThreads

/// One device, its stream and the memory that a suite's cases share.
final class GPUBenchSession {
  /// Runs the public operators.
  let backend: CUDABackend
  /// Where everything is enqueued.
  let stream: ApusCUDA.Stream
  /// Takes times on `stream`.
  let timer: GPUTimer
  private var inputs = BenchInputs()
  /// 2²³ standard normal numbers of each type that was asked for.
  private var sources: [ElementType: OwnedBuffer] = [:]
  /// Memory of the case that is measured.
  private var tensors: [OwnedBuffer] = []
  /// Elements by which the next input starts later in its source: no two operands are equal.
  private var rotation = 0
  /// Rates of streaming kernels in this session.
  var streamRates: [StreamKernel: Double] = [:]
  private let launched: LaunchedKernels

  /// Symbols of the kernels that were launched since they were asked for.
  private final class LaunchedKernels: Sendable {
    let symbols = Lock<[String]>([])
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

  /// `CUDA_ERROR_OUT_OF_MEMORY`.
  static let outOfMemory: Int32 = 2

  /// A dense tensor of standard normal numbers in memory of its own: a source of 2²³ numbers, repeated
  /// from another place for each tensor.
  func normal(_ type: ElementType, _ shape: [Int]) throws -> TensorView {
    let source = try source(type).buffer.view
    let byteCount = shape.reduce(1, *) * type.byteCount
    let owned = OwnedBuffer(
      try DeviceBuffer(byteCount: max(byteCount, 16), in: stream.context))
    // A prime number of elements, so that repetitions do not line up with rows.
    rotation += 4099
    var start = rotation * type.byteCount % source.byteCount
    var offset = 0
    while offset < byteCount {
      let part = min(source.byteCount - start, byteCount - offset)
      try stream.copy(
        from: source.slice(at: start, byteCount: part),
        to: owned.buffer.view.slice(at: offset, byteCount: part))
      offset += part
      start = 0
    }
    tensors.append(owned)
    return view(owned.buffer.view, ScalarType(type), shape)
  }

  private func source(_ type: ElementType) throws -> OwnedBuffer {
    if let source = sources[type] { return source }
    let block = try inputs.normal(type, [1 << 23])
    let owned = OwnedBuffer(
      try DeviceBuffer(byteCount: block.byteCount, in: stream.context))
    try block.withBytes { try stream.copy(from: $0, to: owned.buffer.view) }
    try stream.synchronize()
    sources[type] = owned
    return owned
  }

  /// A dense output of its own memory; it starts as NaN.
  func output(_ type: ScalarType, _ shape: [Int]) throws -> TensorView {
    let count = shape.reduce(1, *) * type.byteCount
    let buffer = try DeviceBuffer(byteCount: max(count, 16), in: stream.context)
    try stream.fill(buffer.view, byte: 0xFF)
    let result = view(buffer.view, type, shape)
    tensors.append(OwnedBuffer(buffer))
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

  /// A tensor of the host in memory of its own.
  func copied(_ tensor: Tensor) throws -> TensorView {
    let owned = OwnedBuffer(
      try DeviceBuffer(byteCount: max(tensor.byteCount, 16), in: stream.context))
    let target = try owned.buffer.view.slice(at: 0, byteCount: tensor.byteCount)
    try tensor.withBytes { try stream.copy(from: $0, to: target) }
    try stream.synchronize()
    tensors.append(owned)
    return view(target, tensor.scalarType, tensor.shape)
  }

  /// The elements of an output once the stream has come so far.
  func floats(_ view: TensorView, _ type: ElementType) throws -> [Float] {
    var bytes = [UInt8](repeating: 0, count: view.byteCount)
    let source = DeviceView(address: UInt64(view.address), byteCount: view.byteCount)
    try bytes.withUnsafeMutableBytes {
      try stream.copy(from: source, to: $0)
      try stream.synchronize()
    }
    return bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return [] }
      return (0..<raw.count / type.byteCount).map { type.load(base, at: $0) }
    }
  }

  /// Frees the tensors of the last case; a stream that failed has told so already.
  func dropTensors() {
    try? stream.synchronize()
    tensors = []
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
  /// No case is left.
  case noCases(suite: String, filters: [String])

  var description: String {
    switch self {
    case .noCases(let suite, let filters):
      "apus bench \(suite): --filter must leave a case; found none for \(filters)."
    }
  }
}
