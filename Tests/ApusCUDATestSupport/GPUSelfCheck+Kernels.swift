internal import ApusCUDA

extension GPUSelfCheck {
  /// A stream, a kernel and its data on one device: `c = a + b` over `count` floats.
  struct VectorAdd: ~Copyable {
    let a: DeviceBuffer
    let b: DeviceBuffer
    let c: DeviceBuffer
    let count: Int

    init(count: Int, in context: Context) throws(CUDAError) {
      let first = try DeviceBuffer(byteCount: 4 * count, in: context)
      let second = try DeviceBuffer(byteCount: 4 * count, in: context)
      let sum = try DeviceBuffer(byteCount: 4 * count, in: context)
      try context.copy((0..<count).map { Float($0) }, to: first.view)
      try context.copy((0..<count).map { Float($0) * 0.5 + 1 }, to: second.view)
      self.count = count
      a = first
      b = second
      c = sum
    }

    var arguments: KernelArguments {
      var arguments = KernelArguments()
      arguments.append(a.view)
      arguments.append(b.view)
      arguments.append(c.view)
      arguments.append(UInt32(count))
      return arguments
    }

    var configuration: LaunchConfiguration {
      LaunchConfiguration(grid: Dim3((count + 255) / 256), block: 256)
    }

    /// Number of wrong elements; every sum is exact in f32 below 2^23.
    func wrongCount(in context: Context) throws(CUDAError) -> Int {
      var found = [Float](repeating: .nan, count: count)
      try context.copy(from: c.view, to: &found)
      return found.indices.count { found[$0] != Float($0) + (Float($0) * 0.5 + 1) }
    }
  }

  static func vectorAdd(in context: Context) throws(CUDAError) -> Function {
    try LoadedModule(.ptx(CheckKernels.vectorAdd), name: "vector_add", in: context)
      .function("vector_add")
  }

  func hopper(_ kernel: String) throws -> Function {
    try requireHopper()
    return try LoadedModule(.ptx(CheckKernels.hopper), name: kernel, in: context).function(kernel)
  }

  func checkCompilation() throws -> String {
    // A changed comment makes the driver's disk cache miss, so that the compiler writes its log.
    let stamp = "// \(ContinuousClock.now)\n"
    let module = try LoadedModule(
      .ptx(CheckKernels.vectorAdd + stamp), name: "vector_add", in: context)
    let attributes = try module.function("vector_add").attributes()
    let usage = module.log.functions.map {
      "\($0.name): \($0.registers.map(String.init) ?? "?") registers"
    }
    try require(attributes.registers > 0, "no registers")
    try require(!module.log.isSlow, "the log shows spills: \(module.log.info)")
    let missing = try error { () throws(CUDAError) in _ = try module.function("absent") }
    try require(missing.name == "CUDA_ERROR_NOT_FOUND", "\(missing)")
    return "\(module.loadNanoseconds / 1000) us, \(attributes.registers) registers; log of "
      + "\(module.log.info.utf8.count) bytes says \(usage)"
  }

  func checkRefusedPTX() throws -> String {
    let error = try error { () throws(CUDAError) in
      _ = try LoadedModule(.ptx(CheckKernels.broken), name: "broken", in: context)
    }
    guard let log = error.log else { throw Stop.failed("\(error)") }
    try require(!log.errors.isEmpty, "the log is empty: \(error)")
    _ = try Self.vectorAdd(in: context)
    return "\(error.name), \(log.diagnostics.count) lines of log, first about line "
      + "\(log.diagnostics.first?.line.map(String.init) ?? "?"); then a good module loads"
  }

  func checkVectorAdd(in context: Context) throws -> String {
    let function = try Self.vectorAdd(in: context)
    let work = try VectorAdd(count: 1_000_003, in: context)
    let stream = try Stream(in: context)
    try function.launch(work.configuration, work.arguments, on: stream)
    try stream.synchronize()
    let wrong = try work.wrongCount(in: context)
    try require(wrong == 0, "\(wrong) of \(work.count) sums are wrong")
    return "\(work.count) sums on device \(context.device.ordinal)"
  }

  func checkOccupancy() throws -> String {
    let function = try Self.vectorAdd(in: context)
    let blocks = try function.maxActiveBlocks(threadsPerBlock: 256)
    try require(blocks > 0, "no block of 256 threads fits")
    let limit = context.device.properties.sharedBytesPerBlockOptIn
    try function.setMaxDynamicShared(byteCount: limit)
    let error = try error { () throws(CUDAError) in
      try function.setMaxDynamicShared(byteCount: limit + 1)
    }
    return "\(blocks) blocks of 256 threads; \(limit) shared bytes allowed, then: \(error)"
  }

  func checkEvents() throws -> String {
    let function = try Self.vectorAdd(in: context)
    let work = try VectorAdd(count: 1 << 22, in: context)
    let stream = try Stream(in: context)
    let start = try Event(in: context)
    let end = try Event(in: context)
    try function.launch(work.configuration, work.arguments, on: stream)
    try start.record(on: stream)
    for _ in 0..<10 { try function.launch(work.configuration, work.arguments, on: stream) }
    try end.record(on: stream)
    let other = try Stream(in: context)
    try other.wait(for: end)
    try other.synchronize()
    try require(try end.isComplete(), "a stream that waited for the event ended before it")
    let milliseconds = try end.milliseconds(since: start)
    try require(milliseconds > 0, "\(milliseconds) ms")
    return "10 launches in \(milliseconds) ms"
  }

  func checkDependentLaunch() throws -> String {
    let function = try hopper("vector_add_after")
    let work = try VectorAdd(count: 1 << 20, in: context)
    let stream = try Stream(in: context)
    // Each launch reads what its predecessor wrote: a = a + b, 5 times.
    var arguments = work.arguments
    try arguments.replace(2, with: work.a.view)
    var configuration = work.configuration
    configuration.overlapsPredecessor = true
    for _ in 0..<5 { try function.launch(configuration, arguments, on: stream) }
    try stream.synchronize()
    var found = [Float](repeating: .nan, count: work.count)
    try context.copy(from: work.a.view, to: &found)
    let wrong = found.indices.count { found[$0] != Float($0) + 5 * (Float($0) * 0.5 + 1) }
    try require(wrong == 0, "\(wrong) of \(work.count) sums are wrong")
    return "5 launches, each on its predecessor's output"
  }

  func checkClusterLaunch() throws -> String {
    let function = try hopper("cluster_rank")
    let stream = try Stream(in: context)
    let buffer = try DeviceBuffer(byteCount: 4 * 64, in: context)
    var arguments = KernelArguments()
    arguments.append(buffer.view)
    var sizes: [Int] = []
    for size in [2, 4, 8, 16] {
      if size > LaunchConfiguration.portableClusterSize { try function.allowNonPortableClusters() }
      let configuration = LaunchConfiguration(grid: 64, block: 128, cluster: Dim3(size))
      let active = try function.maxActiveClusters(configuration)
      try require(active > 0, "no cluster of \(size) fits")
      try function.launch(configuration, arguments, on: stream)
      try stream.synchronize()
      var ranks = [UInt32](repeating: 99, count: 64)
      try context.copy(from: buffer.view, to: &ranks)
      try require(ranks == (0..<64).map { UInt32($0 % size) }, "cluster \(size): \(ranks)")
      sizes.append(active)
    }
    let refused = try error { () throws(CUDAError) in
      try function.launch(
        LaunchConfiguration(grid: 63, block: 128, cluster: 2), arguments, on: stream)
    }
    return "ranks of clusters of 2, 4, 8, 16 (\(sizes) at once); then: \(refused)"
  }

  func checkCooperativeLaunch() throws -> String {
    guard context.device.properties.supportsCooperativeLaunch else {
      throw Stop.skipped("the device has none")
    }
    let function = try Self.vectorAdd(in: context)
    let work = try VectorAdd(count: 4096, in: context)
    let stream = try Stream(in: context, priority: context.streamPriorities().lowerBound)
    var configuration = work.configuration
    configuration.isCooperative = true
    configuration.priority = try stream.priority()
    try function.launch(configuration, work.arguments, on: stream)
    try stream.synchronize()
    let wrong = try work.wrongCount(in: context)
    try require(wrong == 0, "\(wrong) sums are wrong")
    return "\(configuration)"
  }

  func checkTensorMap() throws -> String {
    let function = try hopper("copy_tile")
    let (width, height) = (96, 40)
    let values = (0..<width * height).map { UInt32($0) }
    let buffer = try DeviceBuffer(byteCount: 4 * values.count, in: context)
    try context.copy(values, to: buffer.view)
    let output = try DeviceBuffer(byteCount: 2048, in: context)
    let map = try TensorMap(
      TensorMapDescription(
        .u32, memory: buffer.view, dimensions: [width, height], byteStrides: [4 * width],
        box: [32, 16]), in: context)
    var arguments = KernelArguments()
    arguments.append(map)
    arguments.append(output.view)
    arguments.append(UInt32(0))
    arguments.append(UInt32(0))
    let stream = try Stream(in: context)
    // The last box hangs over both edges: what is outside reads as 0.
    for (x, y) in [(0, 0), (32, 8), (64, 24), (80, 30)] {
      try arguments.replace(2, with: UInt32(x))
      try arguments.replace(3, with: UInt32(y))
      try function.launch(LaunchConfiguration(grid: 1, block: 512), arguments, on: stream)
      try stream.synchronize()
      var found = [UInt32](repeating: 0, count: 512)
      try context.copy(from: output.view, to: &found)
      let expected = (0..<512).map { i -> UInt32 in
        let (column, row) = (x + i % 32, y + i / 32)
        return column < width && row < height ? values[row * width + column] : 0
      }
      try require(found == expected, "the box at (\(x), \(y)) differs")
    }
    return "4 boxes of 32 x 16 of a \(width) x \(height) tensor, one over the edge"
  }
}
