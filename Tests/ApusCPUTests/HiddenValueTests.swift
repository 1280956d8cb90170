import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

@testable import ApusCPU

/// Values that a mask hides change no bit, whatever they are.
struct HiddenValueTests {
  static let types: [(q: ElementType, kv: ElementType)] = [
    (.bf16, .bf16), (.bf16, .e4m3), (.f32, .f32),
  ]

  @Test(arguments: InstructionSet.allCases)
  func `a NaN in V reaches the queries that see it and no other bit`(_ set: InstructionSet) throws {
    guard set.isAvailable else {
      print("SKIP \(set): not in this binary or not on this CPU")
      return
    }
    print("seed 11")
    let engine = try CPUEngine(instructionSet: set, threadCount: 1)
    // Few rows stream from the cache, many pass packed panels; several KV heads stream together.
    for (rows, kvHeads) in [(3, 1), (3, 4), (20, 2)] {
      for types in Self.types {
        for isFirst in [true, false] {
          let length = 150
          let key = isFirst ? 0 : length - 2
          let clean = try Self.run(engine, types, rows: rows, kvHeads: kvHeads, length, nil)
          let found = try Self.run(engine, types, rows: rows, kvHeads: kvHeads, length, key)
          let (heads, dim) = (2 * kvHeads, Self.dim)
          var log = Mismatches()
          for index in clean.indices {
            let (row, head) = (index / (heads * dim), index / dim % heads)
            let sees = length - rows + row >= key
            // The NaN stands in column 5 of KV head 0.
            let isNaN = sees && head < 2 && index % dim == 5
            log.check(
              isNaN ? found[index].isNaN : found[index].bitPattern == clean[index].bitPattern,
              "\(types) rows \(rows) key \(key): [\(row), \(head), \(index % dim)] \(found[index])")
          }
          log.expectNone()
        }
      }
    }
  }

  private static let dim = 40

  /// o of causal attention with two query heads for each KV head, with a NaN in V at `key`.
  private static func run(
    _ engine: CPUEngine, _ types: (q: ElementType, kv: ElementType), rows: Int, kvHeads: Int,
    _ length: Int, _ key: Int?
  ) throws -> [Float] {
    var generator = SplitMix64(seed: 11)
    func bytes(_ type: ElementType, _ count: Int) -> [UInt8] {
      var result = [UInt8](repeating: 0, count: count * type.byteCount)
      result.withUnsafeMutableBytes { buffer in
        guard let base = buffer.baseAddress else { return }
        for index in 0..<count {
          type.store(Float.random(in: -1..<1, using: &generator), to: base, at: index)
        }
      }
      return result
    }
    let problem = AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: 2 * kvHeads, kvHeadCount: kvHeads, headDimQK: dim, headDimVO: dim),
      types: AttentionTypes(q: types.q, kv: types.kv, o: .f32),
      qoIndptr: RaggedIndptr(uniform: rows, batch: 1),
      geometry: .padded(maxLength: length, lengths: [length]), mask: .causal)
    var q = bytes(types.q, rows * 2 * kvHeads * dim)
    var k = bytes(types.kv, length * kvHeads * dim)
    var v = bytes(types.kv, length * kvHeads * dim)
    var o = [Float](repeating: -1, count: rows * 2 * kvHeads * dim)
    let plan = try CPUAttention.plan(problem, operation: "test")
    let cache = [1, length, kvHeads, dim]
    q.withUnsafeMutableBytes { q in
      k.withUnsafeMutableBytes { k in
        v.withUnsafeMutableBytes { v in
          o.withUnsafeMutableBytes { o in
            if let key, let base = v.baseAddress {
              types.kv.store(Float.nan, to: base, at: key * kvHeads * dim + 5)
            }
            engine.run(
              plan,
              AttentionArguments(
                q: .packed(TensorView(q, ScalarType(types.q), shape: [rows, 2 * kvHeads, dim])),
                kv: .separate(
                  k: TensorView(k, ScalarType(types.kv), shape: cache),
                  v: TensorView(v, ScalarType(types.kv), shape: cache)),
                o: TensorView(o, .f32, shape: [rows, 2 * kvHeads, dim])),
              workspace: nil)
          }
        }
      }
    }
    return o
  }
}
