internal import Apus
internal import ApusNumerics

/// Dense prefill: the shapes of the peers' table.
enum GPUPrefillSuite {
  /// 16,384 tokens in sequences of one length.
  struct Shape: Sendable {
    var length: Int
    var qoHeads: Int
    var kvHeads: Int
    var headDim: Int
    var isCausal: Bool
    var type = ElementType.bf16

    var batch: Int { 16384 / length }
    var tag: String {
      "b\(batch) s\(length) h\(qoHeads)/\(kvHeads) d\(headDim) \(isCausal ? "causal" : "full")"
    }
    var flops: Int { 4 * batch * qoHeads * length * length * headDim / (isCausal ? 2 : 1) }
    var bytes: Int {
      2 * batch * length * headDim * (qoHeads + kvHeads) * type.byteCount
    }
  }

  /// Full and causal of each head configuration.
  static var shapes: [Shape] {
    var shapes: [Shape] = []
    for isCausal in [false, true] {
      for length in [512, 1024, 2048, 4096, 8192, 16384] {
        shapes.append(
          Shape(length: length, qoHeads: 16, kvHeads: 16, headDim: 128, isCausal: isCausal))
      }
      for length in [4096, 16384] {
        shapes.append(
          Shape(length: length, qoHeads: 32, kvHeads: 32, headDim: 64, isCausal: isCausal))
        shapes.append(
          Shape(
            length: length, qoHeads: 16, kvHeads: 16, headDim: 128, isCausal: isCausal, type: .f16))
      }
    }
    for length in [2048, 4096, 16384] {
      shapes.append(Shape(length: length, qoHeads: 32, kvHeads: 8, headDim: 128, isCausal: true))
    }
    return shapes
  }

  static func item(_ shape: Shape) -> GPUCase {
    GPUCase(
      operation: "prefill", tag: shape.tag, qType: shape.type, kvType: shape.type,
      bytes: shape.bytes, flops: shape.flops,
      methods: shape.length >= 4096 ? [.burst, .sustained, .graph] : [.burst, .graph]
    ) { session in
      let planned = try plan(shape, on: session.backend)
      // Two sets, as the peers' harness: 200 MB each, four times the L2.
      return try (0..<2).map { _ in
        let arguments = try arguments(shape, session)
        return { try planned.run(arguments, on: session.queue) }
      }
    }
  }

  /// Tensors of one input set.
  static func arguments(
    _ shape: Shape, _ session: GPUBenchSession
  ) throws -> AttentionArguments {
    let rows = shape.batch * shape.length
    let q = try session.normal(shape.type, [rows, shape.qoHeads, shape.headDim])
    let k = try session.normal(shape.type, [rows, shape.kvHeads, shape.headDim])
    let v = try session.normal(shape.type, [rows, shape.kvHeads, shape.headDim])
    let o = try session.output(ScalarType(shape.type), [rows, shape.qoHeads, shape.headDim])
    let lse = try session.output(.f32, [rows, shape.qoHeads])
    return AttentionArguments(q: .packed(q), kv: .separate(k: k, v: v), o: o, lse: lse)
  }

  /// The plan of a shape.
  static func plan(_ shape: Shape, on backend: any Backend) throws -> PlannedAttention {
    let indptr = RaggedIndptr(uniform: shape.length, batch: shape.batch)
    return try BatchPrefill.plan(
      shape: AttentionShape(
        qoHeadCount: shape.qoHeads, kvHeadCount: shape.kvHeads, headDimQK: shape.headDim),
      types: AttentionTypes(q: shape.type), qoIndptr: indptr, kvIndptr: indptr,
      mask: shape.isCausal ? .causal : .none, on: backend)
  }
}
