import Apus
import ApusNumerics
import ArgumentParser

/// `apus warm-up`: compiles what a model needs on a GPU ahead of its server.
struct WarmUpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "warm-up",
    abstract: "Compile a model's kernels on a GPU and test each of them.",
    discussion: """
      Decode for every batch, dense prefill, append and merge of states, for the given heads and \
      types. The driver keeps what it compiles on disk (CUDA_CACHE_PATH), so that the server's first \
      calls find it there. Each kernel is run once on a small problem whose result is known.
      """)

  @Option(help: "Position of the device.")
  var device = 0

  @Option(help: "Query heads.")
  var qoHeads = 32

  @Option(help: "KV heads.")
  var kvHeads = 8

  @Option(help: "Head dimension.")
  var headDim = 128

  // A default of its own would be shown as the number that represents it.
  @Option(name: .customLong("type"), help: "Type of q and o: bf16, f16 or f32 (default: bf16).")
  var queryType: ElementType?

  /// Type of q and o.
  var type: ElementType { queryType ?? .bf16 }

  @Option(help: "Type of the cache (default: that of q).")
  var kvType: ElementType?

  @Option(help: "Tokens of a page.")
  var pageSize = 16

  @Option(help: "Requests of a decode batch; may be repeated.")
  var batch: [Int] = [1, 16, 128]

  @Option(help: "Keys of a request.")
  var length = 4096

  @Flag(help: "Leave out the run of each kernel on its own sample.")
  var noSelfTest = false

  @Flag(help: "Print JSON.")
  var json = false

  /// A kernel's line.
  struct Row: Codable, Sendable {
    var kernel: String
    var milliseconds: Double
    var outcome: String
  }

  func validate() throws {
    for (name, value) in [
      ("--qo-heads", qoHeads), ("--kv-heads", kvHeads), ("--head-dim", headDim),
      ("--page-size", pageSize), ("--length", length),
    ] + batch.map({ ("--batch", $0) }) where !(1...1 << 20).contains(value) {
      throw ValidationError("\(name) must be in 1…1048576; found \(value).")
    }
  }

  func run() throws {
    let backend = try CUDABackend(
      device: device, options: CUDAOptions(runsSelfTests: !noSelfTest))
    let reports = try backend.warmUpReports(for: problems, and: calls(memory: backend.memory))
    var rows: [Row] = []
    var failure: ApusError?
    for report in reports {
      let outcome: String
      switch report.outcome {
      case .tested: outcome = "tested"
      case .untested: outcome = "ready"
      case .replaced(let reasons): outcome = "replaced: \(reasons.joined(separator: "; "))"
      case .failed(let error):
        outcome = "failed"
        failure = failure ?? error
      }
      rows.append(
        Row(
          kernel: report.symbol, milliseconds: Double(report.nanoseconds) * 1e-6, outcome: outcome))
    }
    if json {
      try Output.json(rows)
    } else {
      var table = TextTable([("kernel", .left), ("ms", .right), ("outcome", .left)])
      for row in rows { table.add([row.kernel, Format.fixed(row.milliseconds, 1), row.outcome]) }
      print(table.text())
    }
    if let failure { throw failure }
  }

  private var types: AttentionTypes { AttentionTypes(q: type, kv: kvType ?? type, o: type) }
  private var shape: AttentionShape {
    AttentionShape(qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: headDim)
  }

  private func table(_ batch: Int) -> PageTable {
    let pages = (length + pageSize - 1) / pageSize
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(uniform: pages, batch: batch),
      indices: [Int32](repeating: 0, count: pages * batch),
      lastPageLength: [Int32](
        repeating: Int32(length - (pages - 1) * pageSize), count: batch))
  }

  /// The planned problems: decode of every batch, and prefill, full and causal.
  var problems: [AttentionProblem] {
    batch.map { batch in
      AttentionProblem(
        shape: shape, types: types, qoIndptr: RaggedIndptr(uniform: 1, batch: batch),
        geometry: .paged(table(batch)))
    }
      + [AttentionMask.none, .causal].map { mask in
        AttentionProblem(
          shape: shape, types: types, qoIndptr: RaggedIndptr([0, length]),
          geometry: .ragged(RaggedIndptr([0, length])), mask: mask)
      }
  }

  /// The calls without plans: append of a token, merge of two states.
  func calls(memory: MemorySpace) -> [PlanlessCall] {
    func view(_ type: ScalarType, _ shape: [Int]) -> TensorView {
      // Looked at and not touched; aligned as device memory is.
      TensorView(
        address: 1 << 20, byteCount: shape.reduce(type.byteCount, *), scalarType: type,
        shape: shape, strides: TensorView.denseStrides(shape), memory: memory)
    }
    let stored = ScalarType(types.kv)
    let cache = [1, pageSize, kvHeads, headDim]
    let pages = PageTable(
      pageSize: pageSize, indptr: RaggedIndptr([0, 1]), indices: [0], lastPageLength: [1])
    let append = AppendProblem(
      kvHeadCount: kvHeads, headDimK: headDim, sourceType: type, cacheType: types.kv, table: pages,
      batchIndices: [0], positions: [0])
    let token = [1, kvHeads, headDim]
    let states = (view(ScalarType(type), [1, qoHeads, headDim]), view(.f32, [1, qoHeads]))
    return [
      .append(
        append,
        AppendArguments(
          keys: view(ScalarType(type), token), values: view(ScalarType(type), token),
          cache: .separate(k: view(stored, cache), v: view(stored, cache)))),
      .merge(
        MergeArguments(
          .two(
            aV: states.0, aS: states.1, bV: states.0, bS: states.1, v: states.0, s: states.1))),
    ]
  }
}
