internal import Apus
internal import ApusCUDA
internal import ApusDSL
internal import ApusIR
internal import ApusKernels
internal import ApusNumerics
internal import ApusReference
internal import ArgumentParser
internal import Foundation

/// `apus bench tensor-cores`: decode on tensor cores and on ordinary cores, on the same inputs.
struct TensorCoreBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tensor-cores",
    abstract: "Compare decode with and without tensor cores: time, resources and error.",
    discussion: """
      Each path's error is that of the first request against the definition in float64, on the same \
      inputs, with the output in f32. The simulator has no time and takes tiny shapes: one request of 40 keys by default.
      """)

  @Option(help: "Back end: cuda or simulator.")
  var backend: BackendName = .cuda(device: 0)

  @Option(help: "Requests of each shape.")
  var batch: Int?

  @Option(help: "Keys of each request.")
  var length: Int?

  @Option(help: "Head dimension.")
  var headDim = 128

  @Option(help: "Write the result as JSON; - is standard output, which then carries nothing else.")
  var json: String?

  @Option(help: "Commit to store; git is asked by default.")
  var commit: String?

  func run() throws {
    var results: [TensorCoreComparison.Path] = []
    var info: GPUDeviceInfo?
    switch backend {
    case .cpu: throw ValidationError("--backend must be cuda or simulator; found cpu.")
    case .simulator:
      let bench = TensorCoreComparison(session: nil)
      for shape in shapes(batch: 1, length: 40, groups: [(2, 2), (8, 2)]) {
        results += try bench.measure(shape)
      }
    case .cuda(let device):
      let session = try GPUBenchSession(device: device)
      info = GPUDeviceInfo(session.device)
      let bench = TensorCoreComparison(session: session)
      for shape in shapes(batch: 16, length: 4096, groups: [(32, 32), (32, 8), (64, 8)]) {
        results += try bench.measure(shape)
      }
    }
    let report = TensorCoreComparison.Report(
      date: ISO8601DateFormatter().string(from: Date()), commit: commit ?? BenchCommit.current,
      device: info, results: results)
    if let json { try GPUBenchOptions.write(report, to: json) }
    if json != "-" { print(TensorCoreComparison.text(results)) }
  }

  private func shapes(
    batch: Int, length: Int, groups: [(qo: Int, kv: Int)]
  ) -> [GPUDecodeSuite.Shape] {
    groups.flatMap { heads in
      [(ElementType.f16, ElementType.f16), (.bf16, .bf16), (.bf16, .e4m3), (.f32, .f32)].map {
        GPUDecodeSuite.Shape(
          batch: self.batch ?? batch, length: self.length ?? length, qoHeads: heads.qo,
          kvHeads: heads.kv, headDim: headDim, qType: $0.0, kvType: $0.1)
      }
    }
  }
}

/// Both arithmetic paths of decode on one set of inputs.
struct TensorCoreComparison {
  /// One path on one shape.
  struct Path: Codable, Sendable {
    var tag: String
    var qType: String
    var kvType: String
    /// `tensor cores` or `ordinary cores`.
    var path: String
    var kernel: String
    /// nil in the simulator.
    var graph: GPUSamples?
    var bytesPerSecond: Double?
    /// Of a thread: what the driver reports, or in the simulator the prediction from the IR.
    var registers: Int
    var sharedBytes: Int
    /// Of the first request's output against float64: ‖found − expected‖₂ / ‖expected‖₂.
    var relativeError: Double
    /// Greatest difference of an element.
    var greatestError: Double
  }

  /// What a file of results holds.
  struct Report: Codable, Sendable {
    var kind = "apus-gpu-tensor-cores"
    var suite = "tensor-cores"
    var schema = 1
    var date: String
    var commit: String?
    /// nil for the simulator.
    var device: GPUDeviceInfo?
    var results: [Path]
  }

  /// Where it runs; nil for the simulator.
  let session: GPUBenchSession?

  /// The paths that compute a shape, tensor cores first.
  func measure(_ shape: GPUDecodeSuite.Shape) throws -> [Path] {
    defer { session?.dropTensors() }
    var inputs = BenchInputs()
    let table = inputs.pages(batch: shape.batch, length: shape.length, pageSize: shape.pageSize)
    let q = try inputs.normal(shape.qType, [shape.batch, shape.qoHeads, shape.headDim])
    let kv = try inputs.normal(
      shape.kvType,
      [table.greatestPage + 1, 2, shape.pageSize, shape.kvHeads, shape.headDim])
    // In f32, so that the error is that of the arithmetic and not of the output's rounding.
    let o = try Tensor(zeros: .f32, shape: q.shape)
    let expected = try expected(shape, table, q, kv, o)
    return try [TensorCoreUse.always, .never].compactMap { use in
      let problem = problem(shape, table, batch: shape.batch, use)
      let (target, count) =
        session.map {
          ($0.backend.launcher.target, $0.device.properties.multiprocessorCount)
        } ?? (.sm90a, 4)
      guard
        let plan = DecodeLaunch.plan(problem, target: target, multiprocessorCount: count)
      else { return nil }
      var path = Path(
        tag: shape.tag, qType: "\(shape.qType)", kvType: "\(shape.kvType)",
        path: use == .always ? "tensor cores" : "ordinary cores", kernel: plan.kernel.symbol,
        registers: 0, sharedBytes: 0, relativeError: 0, greatestError: 0)
      let ir = try plan.kernel.build(for: target)
      let predicted = KernelResources.predicted(for: ir, target: target)
      (path.registers, path.sharedBytes) = (predicted.registers, predicted.sharedBytes)
      let found: [Float]
      if let session {
        found = try time(shape, problem, q, kv, on: session, &path)
        let compiled = try session.backend.launcher.compiled(
          plan.kernel, operation: "apus bench tensor-cores")
        path.registers = try compiled.function.attributes().registers
      } else {
        let planned = try PlannedAttention(
          problem, operation: "apus bench tensor-cores", backend: SimulatorBackend())
        try planned.run(
          AttentionArguments(q: .packed(q.view), kv: .combined(kv.view), o: o.view),
          on: .synchronous)
        found = o.values
      }
      let first = Array(found.prefix(expected.count))
      path.relativeError = relativeError(first, expected)
      path.greatestError = zip(first, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
      return path
    }
  }

  private func problem(
    _ shape: GPUDecodeSuite.Shape, _ table: PageTable, batch: Int, _ use: TensorCoreUse
  ) -> AttentionProblem {
    AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: shape.qoHeads, kvHeadCount: shape.kvHeads, headDimQK: shape.headDim),
      types: AttentionTypes(q: shape.qType, kv: shape.kvType, o: .f32),
      qoIndptr: RaggedIndptr(uniform: 1, batch: batch), geometry: .paged(table), mask: .causal,
      options: ExecutionOptions(useTensorCores: use))
  }

  /// The first request's output in float64.
  private func expected(
    _ shape: GPUDecodeSuite.Shape, _ table: PageTable, _ q: Tensor, _ kv: Tensor, _ o: Tensor
  ) throws -> [Double] {
    let pageCount = (shape.length + shape.pageSize - 1) / shape.pageSize
    guard case .csr(_, let indices, let last) = table.form else { return [] }
    let first = PageTable(
      pageSize: shape.pageSize, indptr: RaggedIndptr([0, pageCount]),
      indices: Array(indices.prefix(pageCount)), lastPageLength: Array(last.prefix(1)))
    func row(_ tensor: Tensor) -> TensorView {
      let extents = [1, shape.qoHeads, shape.headDim]
      return TensorView(
        address: tensor.view.address, byteCount: tensor.byteCount / shape.batch,
        scalarType: tensor.scalarType, shape: extents, strides: TensorView.denseStrides(extents),
        memory: tensor.view.memory)
    }
    let result = try Reference.attention(
      problem(shape, first, batch: 1, .automatic),
      AttentionArguments(q: .packed(row(q)), kv: .combined(kv.view), o: row(o)))
    return result.o
  }

  /// Times a path over rotated copies of the inputs; the output of the first.
  private func time(
    _ shape: GPUDecodeSuite.Shape, _ problem: AttentionProblem, _ q: Tensor, _ kv: Tensor,
    on session: GPUBenchSession, _ path: inout Path
  ) throws -> [Float] {
    let planned = try PlannedAttention(
      problem, operation: "apus bench tensor-cores", backend: session.backend)
    let o = try session.output(.f32, q.shape)
    let sets = GPUCase.inputSetCount(byteCount: shape.cacheByteCount)
    let query = try session.copied(q)
    let calls = try (0..<sets).map { _ -> GPUCall in
      let cache = try session.copied(kv)
      let arguments = AttentionArguments(q: .packed(query), kv: .combined(cache), o: o)
      return { try planned.run(arguments, on: session.queue) }
    }
    guard let first = calls.first else { return [] }
    try first()
    let found = try session.floats(o, .f32)
    let timing = try session.timer.graph(calls)
    path.graph = GPUSamples(timing.seconds)
    path.bytesPerSecond = path.graph.map { Double(shape.bytes) / $0.medianSeconds }
    session.dropTensors()
    return found
  }

  /// A table, and what follows from it.
  static func text(_ paths: [Path]) -> String {
    var table = TextTable([
      ("shape", .left), ("types", .left), ("path", .left), ("µs", .right), ("TB/s", .right),
      ("registers", .right), ("shared", .right), ("L2 error", .right), ("greatest", .right),
    ])
    for path in paths {
      table.add([
        path.tag, "\(path.qType)/\(path.kvType)", path.path,
        path.graph.map { Format.fixed($0.medianSeconds * 1e6, 1) } ?? "–",
        path.bytesPerSecond.map { Format.fixed($0 * 1e-12, 2) } ?? "–", "\(path.registers)",
        "\(path.sharedBytes / 1024) KB", Format.short(path.relativeError),
        Format.short(path.greatestError),
      ])
    }
    var gains: [String] = []
    for (one, other) in zip(paths, paths.dropFirst())
    where one.path == "tensor cores" && other.path == "ordinary cores" && one.tag == other.tag
      && one.kvType == other.kvType && one.qType == other.qType
    {
      guard let fast = one.graph, let plain = other.graph else { continue }
      gains.append(
        "\(one.tag) \(one.qType)/\(one.kvType): tensor cores take "
          + Format.fixed(fast.medianSeconds / plain.medianSeconds, 2)
          + " of the time of ordinary cores.")
    }
    let advice =
      "Ordinary cores compute f32 caches and every precision above fast: they round nothing but the "
      + "f32 sums and the output. Tensor cores round P, and q where the cache is 8-bit, to 16 bits, and "
      + "cost no more for a group of 8 than for one head; ordinary cores cost in proportion to it. Both "
      + "read K and V once: where the rates are equal, memory is the limit, and ordinary cores are the "
      + "more exact choice."
    return ([table.text(), advice] + gains).joined(separator: "\n")
  }
}
