internal import Apus
internal import ApusNumerics

/// A case of a GPU suite: what it is called, what it costs, how to make its calls.
struct GPUCase {
  /// Ways of taking time; `GPUTimer` explains them.
  enum Method: Hashable {
    case burst
    case sustained
    case graph
  }

  /// The operation as the peers' table names it.
  var operation: String
  /// The shape as the peers' table writes it.
  var tag: String
  /// Types of q and of the cache.
  var qType: ElementType
  var kvType: ElementType
  /// Compulsory bytes and operations of one call.
  var bytes: Int
  var flops: Int
  /// Arrays read for one written by the streaming kernel that is its limit; nil where the limit is
  /// that of reading.
  var streamedReads: Int?
  /// Bytes of its tensors, where they are many: cases run in order of them.
  var residentByteCount = 0
  /// How it is timed.
  var methods: Set<Method>
  /// Makes the calls of all input sets, each ready to be enqueued any number of times.
  var prepare: (GPUBenchSession) throws -> [GPUCall]

  /// `prefill b4 s4096 h16/16 d128 causal bf16`.
  var name: String {
    "\(operation) \(tag) " + (qType == kvType ? "\(qType)" : "\(qType)/\(kvType)")
  }

  /// Input sets that together exceed `rotationByteCount`, at most 64.
  static func inputSetCount(byteCount: Int, rotationByteCount: Int = 256 << 20) -> Int {
    max(1, min(64, (rotationByteCount + byteCount - 1) / max(byteCount, 1)))
  }
}

extension GPUBenchSession {
  /// Runs a case by all its methods.
  func measure(_ item: GPUCase) throws -> GPUBenchResult {
    defer { dropTensors() }
    let calls = try item.prepare(self)
    guard let first = calls.first else {
      throw GPUBenchError.noCases(suite: item.name, filters: [])
    }
    var result = GPUBenchResult(
      name: item.name, operation: item.operation, tag: item.tag, qType: "\(item.qType)",
      kvType: "\(item.kvType)", kernels: try symbols(of: first), bytes: item.bytes,
      flops: item.flops)
    result.ptxHashes = try result.kernels.map { symbol in
      // As many digits as the recorded hashes of the catalogue have.
      try backend.launcher.ptxDigest(of: symbol).map { String("\($0)".prefix(16)) } ?? "?"
    }
    if item.methods.contains(.burst) { result.burst = GPUSamples(try timer.burst(first)) }
    if item.methods.contains(.graph) {
      let graph = try timer.graph(calls)
      result.graph = GPUSamples(graph.seconds)
      result.callsPerGraph = graph.callsPerGraph
      result.inputSets = calls.count
    }
    // Last, because it leaves the card hot.
    if item.methods.contains(.sustained), let burst = result.burst {
      let sustained = try timer.sustained(first, estimate: burst.medianSeconds)
      result.sustainedSeconds = sustained.seconds
      result.sustainedClockMHz = sustained.clockMHz
    }
    if let reads = item.streamedReads {
      result.limitBytesPerSecond = try streamRate(reads: reads, writes: true)
    }
    return result
  }
}
