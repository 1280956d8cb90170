internal import Apus
internal import ApusCUDA
internal import Logging

/// Host time of planning and running on a GPU, over a driver that does nothing: what this library adds
/// to the driver's own calls. Needs no GPU.
struct GPUHostSuite {
  /// One operation.
  struct Result: Codable, Sendable {
    var name: String
    /// The median of the batches.
    var microseconds: Double
    /// The least.
    var leastMicroseconds: Double
    /// What it may take, by the goals of this library; nil for none.
    var goalMicroseconds: Double?
  }

  private let backend: CUDABackend
  private let stream: Stream

  init() throws {
    var logger = Logger(label: "apus.cuda")
    logger.logLevel = .critical
    backend = CUDABackend(
      try CUDALauncher(
        driver: Driver(table: .idle()), options: CUDAOptions(logger: logger)))
    stream = try Stream(in: backend.launcher.context)
  }

  /// A dense view of addresses without memory: nothing reads them.
  private func view(_ type: ScalarType, _ shape: [Int]) throws -> TensorView {
    let byteCount = shape.reduce(type.byteCount, *)
    let memory = try backend.launcher.allocate(byteCount: byteCount, operation: "apus bench")
    return TensorView(
      address: UInt(memory.address), byteCount: byteCount, scalarType: type, shape: shape,
      strides: TensorView.denseStrides(shape), memory: backend.memory)
  }

  /// Measures everything.
  func results() throws -> [Result] {
    let shape = AttentionShape(qoHeadCount: 32, kvHeadCount: 8, headDimQK: 128)
    let types = AttentionTypes(q: .bf16)
    let handle = ExecutionStream.device(handle: stream.handle)
    var results: [Result] = []
    for (batch, length) in [(1, 1024), (128, 8192)] {
      let pages = batch * length / 16
      let table = PageTable(
        pageSize: 16, indptr: RaggedIndptr(uniform: length / 16, batch: batch),
        indices: (0..<pages).map { Int32($0) },
        lastPageLength: [Int32](repeating: 16, count: batch))
      let name = "decode b\(batch) kv\(length) p16"
      results.append(
        try Self.time("plan \(name)", goal: batch == 128 ? 100 : nil, count: 20) {
          _ = try BatchDecode.plan(shape: shape, types: types, pages: table, on: backend)
        })
      let planned = try BatchDecode.plan(shape: shape, types: types, pages: table, on: backend)
      let arguments = AttentionArguments(
        q: .packed(try view(.bf16, [batch, 32, 128])),
        kv: .separate(
          k: try view(.bf16, [pages, 16, 8, 128]), v: try view(.bf16, [pages, 16, 8, 128])),
        o: try view(.bf16, [batch, 32, 128]))
      results.append(
        try Self.time("run \(name)", goal: 5, count: 2000) {
          try planned.run(arguments, on: handle)
        })
      let updated = try BatchDecode.plan(
        shape: shape, types: types, pages: table,
        capacity: PlanCapacity(batch: batch, keysPerRequest: length), on: backend)
      results.append(
        try Self.time("update \(name)", goal: nil, count: 20) {
          try updated.update(pages: table, on: handle)
        })
    }
    let prefill = try SinglePrefill.plan(
      shape: shape, types: types, qoLength: 1024, kvLength: 1024, on: backend)
    let arguments = AttentionArguments(
      q: .packed(try view(.bf16, [1024, 32, 128])),
      kv: .separate(k: try view(.bf16, [1024, 8, 128]), v: try view(.bf16, [1024, 8, 128])),
      o: try view(.bf16, [1024, 32, 128]))
    results.append(
      try Self.time("run prefill 1024", goal: 5, count: 2000) {
        try prefill.run(arguments, on: handle)
      })
    let v = try (0..<3).map { _ in try view(.bf16, [512, 32, 128]) }
    let s = try (0..<3).map { _ in try view(.f32, [512, 32]) }
    let merge = MergeArguments(.two(aV: v[0], aS: s[0], bV: v[1], bS: s[1], v: v[2], s: s[2]))
    results.append(
      try Self.time("merge of two", goal: nil, count: 2000) {
        try backend.merge(merge, on: handle)
      })
    let append = AppendProblem(
      kvHeadCount: 8, headDimK: 128, sourceType: .bf16, cacheType: .bf16,
      table: PageTable(
        pageSize: 16, indptr: RaggedIndptr(uniform: 64, batch: 128),
        indices: (0..<8192).map { Int32($0) },
        lastPageLength: [Int32](repeating: 16, count: 128)),
      batchIndices: (0..<128).map { Int32($0) }, positions: [Int32](repeating: 1023, count: 128))
    let tokens = AppendArguments(
      keys: try view(.bf16, [128, 8, 128]), values: try view(.bf16, [128, 8, 128]),
      cache: .separate(
        k: try view(.bf16, [8192, 16, 8, 128]), v: try view(.bf16, [8192, 16, 8, 128])))
    results.append(
      try Self.time("append of a token to 128", goal: nil, count: 500) {
        try backend.append(append, tokens, on: handle)
      })
    return results
  }

  /// Microseconds of a call: the median and the least of 15 batches.
  private static func time(
    _ name: String, goal: Double?, count: Int, _ body: () throws -> Void
  ) throws -> Result {
    let clock = ContinuousClock()
    for _ in 0..<count { try body() }
    var means: [Double] = []
    for _ in 0..<15 {
      let elapsed = try clock.measure { for _ in 0..<count { try body() } }.components
      let seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
      means.append(seconds * 1e6 / Double(count))
    }
    means.sort()
    return Result(
      name: name, microseconds: means[means.count / 2], leastMicroseconds: means[0],
      goalMicroseconds: goal)
  }
}
