internal import Apus
internal import ApusKernels
internal import ApusNumerics

/// Merge of states, cache writes and rotation: sizes beyond the L2, and one token for a batch of 128.
///
/// Page and position lists lie in device memory before the call, where a serving engine keeps them.
enum GPUOperatorSuite {
  static var items: [GPUCase] {
    [
      merge(states: 2, rows: 32768, type: .bf16), merge(states: 2, rows: 32768, type: .f32),
      merge(states: 8, rows: 8192, type: .bf16), merge(states: 8, rows: 8192, type: .f32),
      append(batch: 128, tokens: 256, cache: .bf16), append(batch: 128, tokens: 256, cache: .e4m3),
      append(batch: 128, tokens: 1, cache: .bf16), append(batch: 128, tokens: 1, cache: .e4m3),
      appendLatent(batch: 128, tokens: 512, cache: .bf16),
      appendLatent(batch: 128, tokens: 512, cache: .e4m3),
      appendLatent(batch: 128, tokens: 1, cache: .bf16), rope(rows: 32768, type: .bf16),
      rope(rows: 128, type: .bf16),
    ]
  }

  private static let heads = 32
  private static let kvHeads = 8
  private static let headDim = 128

  private static func sets(_ bytes: Int) -> Int { GPUCase.inputSetCount(byteCount: bytes) }

  private static func merge(states count: Int, rows: Int, type: ElementType) -> GPUCase {
    let cells = rows * heads
    let bytes = cells * ((count + 1) * (headDim * type.byteCount + 4))
    return GPUCase(
      operation: "merge", tag: "states\(count) rows\(rows) h\(heads) d\(headDim)", qType: type,
      kvType: type, bytes: bytes, flops: cells * count * headDim * 2, streamedReads: count,
      methods: [.graph]
    ) { session in
      try (0..<sets(bytes)).map { _ in
        let states = try session.normal(type, [rows, count, heads, headDim])
        let logits = try session.normal(.f32, [rows, count, heads])
        let v = try session.output(ScalarType(type), [rows, heads, headDim])
        let s = try session.output(.f32, [rows, heads])
        let arguments: MergeArguments
        if count == 2 {
          let (aV, bV) = (states.selecting(0, axis: 1), states.selecting(1, axis: 1))
          let (aS, bS) = (logits.selecting(0, axis: 1), logits.selecting(1, axis: 1))
          arguments = MergeArguments(.two(aV: aV, aS: aS, bV: bV, bS: bS, v: v, s: s))
        } else {
          arguments = MergeArguments(.many(states: states, logits: logits, v: v, s: s))
        }
        return { try MergeStates.run(arguments, on: session.backend, stream: session.queue) }
      }
    }
  }

  /// Pages of `batch` requests of 1,024 tokens, the last `tokens` of which are written.
  private static func target(
    _ session: GPUBenchSession, batch: Int, tokens: Int
  ) throws -> (table: PageTable, batchIndices: [Int32], positions: [Int32]) {
    let lengths = [Int](repeating: 1024, count: batch)
    let rows = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr(uniform: tokens, batch: batch), lengths: lengths)
    return (session.pages(lengths: lengths, pageSize: 16), rows.batchIndices, rows.positions)
  }

  private static func append(batch: Int, tokens: Int, cache: ElementType) -> GPUCase {
    let elements = batch * tokens * kvHeads * headDim * 2
    let bytes = elements * (2 + cache.byteCount)
    return GPUCase(
      operation: "append", tag: "b\(batch) t\(tokens) h\(kvHeads) d\(headDim) p16", qType: .bf16,
      kvType: cache, bytes: bytes, flops: 0, streamedReads: 2 / cache.byteCount, methods: [.graph]
    ) { session in
      let target = try target(session, batch: batch, tokens: tokens)
      let problem = AppendProblem(
        kvHeadCount: kvHeads, headDimK: headDim, sourceType: .bf16, cacheType: cache,
        table: target.table, batchIndices: target.batchIndices, positions: target.positions)
      return try (0..<sets(bytes)).map { _ in
        let keys = try session.normal(.bf16, [batch * tokens, kvHeads, headDim])
        let values = try session.normal(.bf16, [batch * tokens, kvHeads, headDim])
        let kv = try session.output(
          ScalarType(cache), [target.table.greatestPage + 1, 2, 16, kvHeads, headDim])
        let scale = cache == .e4m3 ? AppendScale.tensor(0.5) : .one
        let arguments = AppendArguments(
          keys: keys, values: values, cache: .combined(kv), kScale: scale, vScale: scale)
        let destinations = try problem.resolve(
          arguments, memory: session.backend.memory, operation: "apus bench gpu-ops")
        return try session.resident(
          AppendKernel.launches(
            for: problem, arguments, to: destinations, target: session.backend.launcher.target))
      }
    }
  }

  private static func appendLatent(batch: Int, tokens: Int, cache: ElementType) -> GPUCase {
    let bytes = batch * tokens * 576 * (2 + cache.byteCount)
    return GPUCase(
      operation: "append_mla", tag: "b\(batch) t\(tokens) d512+64 p16", qType: .bf16,
      kvType: cache, bytes: bytes, flops: 0, streamedReads: 2 / cache.byteCount, methods: [.graph]
    ) { session in
      let target = try target(session, batch: batch, tokens: tokens)
      let problem = AppendProblem(
        latent: LatentShape(), sourceType: .bf16, cacheType: cache, table: target.table,
        batchIndices: target.batchIndices, positions: target.positions)
      return try (0..<sets(bytes)).map { _ in
        let ckv = try session.normal(.bf16, [batch * tokens, 1, 512])
        let kpe = try session.normal(.bf16, [batch * tokens, 1, 64])
        let rows = try session.output(ScalarType(cache), [target.table.greatestPage + 1, 16, 576])
        let scale = cache == .e4m3 ? AppendScale.tensor(0.5) : .one
        let arguments = AppendArguments(
          keys: ckv, values: kpe, cache: .packedLatent(rows), kScale: scale, vScale: scale)
        let destinations = try problem.resolve(
          arguments, memory: session.backend.memory, operation: "apus bench gpu-ops")
        return try session.resident(
          AppendKernel.launches(
            for: problem, arguments, to: destinations, target: session.backend.launcher.target))
      }
    }
  }

  private static func rope(rows: Int, type: ElementType) -> GPUCase {
    let bytes = 2 * rows * (heads + kvHeads) * headDim * type.byteCount
    return GPUCase(
      operation: "rope", tag: "rows\(rows) h\(heads)/\(kvHeads) d\(headDim)", qType: type,
      kvType: type, bytes: bytes, flops: 0, streamedReads: 1, methods: [.graph]
    ) { session in
      try (0..<sets(bytes)).map { _ in
        let q = try session.normal(type, [rows, heads, headDim])
        let k = try session.normal(type, [rows, kvHeads, headDim])
        let arguments = RotaryArguments(
          q: q, k: k, qOut: try session.output(ScalarType(type), q.shape),
          kOut: try session.output(ScalarType(type), k.shape), positions: Array(0..<rows),
          source: .frequencies(RotaryEmbedding()))
        return try session.resident(
          RotaryKernel.launches(for: arguments, target: session.backend.launcher.target))
      }
    }
  }
}
