internal import Apus
internal import ApusNumerics
internal import Foundation

/// Batch decode over paged caches: the shapes of the peers' table, and those that they lack.
enum GPUDecodeSuite {
  /// One cell.
  struct Shape: Sendable {
    var batch: Int
    var length: Int
    var qoHeads = 32
    var kvHeads = 8
    var headDim = 128
    var pageSize = 16
    var qType = ElementType.bf16
    var kvType = ElementType.bf16
    /// Query tokens of a request, the last of its context.
    var queries = 1
    /// Keys left of the query that it sees; nil for all.
    var windowLeft: Int?
    /// Lengths of the requests where they differ; `length` is then their mean.
    var lengths: [Int]?
    /// Tells shapes with `lengths` apart.
    var note = ""
    /// Whether ALiBi is added to scores.
    var hasSlopes = false
    /// Whether the queries of a request are a tree: a custom mask hides every third query from those
    /// behind it.
    var isTree = false

    var tag: String {
      var text = "b\(batch) kv\(length) h\(qoHeads)/\(kvHeads) d\(headDim) p\(pageSize)"
      if queries > 1 { text += " sq\(queries)" }
      if let windowLeft { text += " w\(windowLeft)" }
      if hasSlopes { text += " alibi" }
      if isTree { text += " tree" }
      if !note.isEmpty { text += " \(note)" }
      return text
    }
    var allLengths: [Int] { lengths ?? [Int](repeating: length, count: batch) }
    /// Keys that are read.
    var keys: Int {
      allLengths.reduce(0) { $0 + min($1, windowLeft.map { $0 + queries } ?? $1) }
    }
    var cacheByteCount: Int {
      allLengths.reduce(0) { $0 + ($1 + pageSize - 1) / pageSize * pageSize }
        * 2 * kvHeads * headDim * kvType.byteCount
    }
    var bytes: Int {
      2 * keys * kvHeads * headDim * kvType.byteCount
        + 2 * batch * queries * qoHeads * headDim * qType.byteCount
    }
    var flops: Int { 4 * keys * queries * qoHeads * headDim }
  }

  /// Cells that peers have figures for: batch, length and heads for two page sizes and each cache.
  static var peerShapes: [Shape] {
    var shapes: [Shape] = []
    for (q, kv) in [(ElementType.bf16, ElementType.bf16), (.bf16, .e4m3), (.f16, .e4m3)] {
      for (qoHeads, kvHeads) in [(32, 32), (32, 8), (64, 8)] {
        for pageSize in [16, 64] {
          for batch in [1, 16, 64, 128] {
            for length in [1024, 8192, 32768] {
              shapes.append(
                Shape(
                  batch: batch, length: length, qoHeads: qoHeads, kvHeads: kvHeads,
                  pageSize: pageSize, qType: q, kvType: kv))
            }
          }
        }
      }
    }
    return shapes
  }

  /// Cells beyond the peers' table: mixed lengths, windows, several query tokens, other shapes.
  static var otherShapes: [Shape] {
    var random = BenchRandom(seed: 7)
    let mixed = (0..<64).map { _ in Int.random(in: 1...16384, using: &random) }
    let mean = mixed.reduce(0, +) / mixed.count
    let skewed = [131072] + [Int](repeating: 1024, count: 63)
    var shapes: [Shape] = []
    for kv in [ElementType.bf16, .e4m3] {
      shapes.append(
        Shape(batch: 64, length: mean, kvType: kv, lengths: mixed, note: "ragged 1 to 16k"))
      shapes.append(
        Shape(
          batch: 64, length: skewed.reduce(0, +) / 64, kvType: kv, lengths: skewed,
          note: "one of 128k among 1k"))
      shapes.append(Shape(batch: 16, length: 32768, kvType: kv, windowLeft: 1023))
      for queries in [2, 4, 8, 16] {
        shapes.append(Shape(batch: 16, length: 8192, kvType: kv, queries: queries))
      }
      for headDim in [64, 80, 96, 256] {
        shapes.append(Shape(batch: 16, length: 8192, headDim: headDim, kvType: kv))
      }
      shapes.append(Shape(batch: 16, length: 8192, pageSize: 1, kvType: kv))
      shapes.append(Shape(batch: 16, length: 8192, qoHeads: 40, kvType: kv))
      shapes.append(Shape(batch: 16, length: 8192, kvType: kv, hasSlopes: true))
      shapes.append(Shape(batch: 16, length: 8192, kvType: kv, queries: 8, isTree: true))
    }
    shapes.append(Shape(batch: 16, length: 8192, headDim: 72))
    shapes.append(Shape(batch: 16, length: 4096, headDim: 512))
    for heads in [8, 32] {
      shapes.append(
        Shape(batch: 16, length: 4096, qoHeads: heads, qType: .f32, kvType: .f32))
    }
    return shapes
  }

  static func item(_ shape: Shape) -> GPUCase {
    GPUCase(
      operation: "decode", tag: shape.tag, qType: shape.qType, kvType: shape.kvType,
      bytes: shape.bytes, flops: shape.flops, residentByteCount: shape.cacheByteCount,
      methods: [.graph]
    ) { session in
      let inputs = try inputs(shape, session)
      return inputs.arguments.map { arguments in
        { try inputs.planned.run(arguments, on: session.queue) }
      }
    }
  }

  /// The problem of a shape, and the tensors of its input sets; all have one output.
  struct Inputs {
    var planned: PlannedAttention
    var problem: AttentionProblem { planned.problem }
    var arguments: [AttentionArguments]
    var o: TensorView
  }

  /// Tensors of standard normal numbers, pages in random order.
  static func inputs(_ shape: Shape, _ session: GPUBenchSession) throws -> Inputs {
    // What is read, not what is there: windows leave most of a cache alone. Two sets at least, where
    // there is room: the place of a cache in memory changes rates by up to 14 %.
    let sets = max(
      GPUCase.inputSetCount(byteCount: shape.bytes), shape.cacheByteCount <= 4 << 30 ? 2 : 1)
    let (rows, heads) = (shape.batch * shape.queries, shape.qoHeads)
    let o = try session.output(ScalarType(shape.qType), [rows, heads, shape.headDim])
    let table = session.pages(lengths: shape.allLengths, pageSize: shape.pageSize)
    let planned = try BatchDecode.plan(
      shape: AttentionShape(
        qoHeadCount: heads, kvHeadCount: shape.kvHeads, headDimQK: shape.headDim),
      types: AttentionTypes(q: shape.qType, kv: shape.kvType, o: shape.qType), pages: table,
      queriesPerRequest: shape.queries, mask: mask(shape), modification: modification(shape),
      on: session.backend)
    let pages = [table.greatestPage + 1, 2, shape.pageSize, shape.kvHeads, shape.headDim]
    let arguments = try (0..<sets).map { _ in
      AttentionArguments(
        q: .packed(try session.normal(shape.qType, [rows, heads, shape.headDim])),
        kv: .combined(try session.normal(shape.kvType, pages)), o: o)
    }
    return Inputs(planned: planned, arguments: arguments, o: o)
  }

  private static func modification(_ shape: Shape) -> ScoreModification {
    var modification = ScoreModification()
    if shape.hasSlopes {
      modification.alibiSlopes = (0..<shape.qoHeads).map {
        Float(pow(2, -8 * Double($0 + 1) / Double(shape.qoHeads)))
      }
    }
    return modification
  }

  private static func mask(_ shape: Shape) -> AttentionMask {
    guard shape.isTree else {
      return AttentionMask(isCausal: true, windowLeft: shape.windowLeft)
    }
    var bytes: [UInt8] = []
    var offsets = [0]
    for keys in shape.allLengths {
      var request = [UInt8](repeating: 0, count: (shape.queries * keys + 7) / 8)
      for query in 0..<shape.queries {
        let own = keys - shape.queries + query
        for key in 0...own {
          let drafted = key - (keys - shape.queries)
          if drafted >= 0, drafted < query, drafted % 3 == 2 { continue }
          let bit = query * keys + key
          request[bit / 8] |= 1 << (bit % 8)
        }
      }
      bytes += request
      offsets.append(bytes.count)
    }
    return AttentionMask(
      isCausal: true, windowLeft: shape.windowLeft,
      custom: CustomMask(bytes: bytes, byteIndptr: RaggedIndptr(offsets)))
  }
}
