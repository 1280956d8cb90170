import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

@testable import ApusCPU

/// How many heads stream together follows the number of threads; no bit of a result may.
@Suite struct ThreadInvarianceTests {
  static let types: [(q: ElementType, kv: ElementType)] = [
    (.bf16, .bf16), (.bf16, .e4m3), (.f32, .f32),
  ]

  @Test(arguments: InstructionSet.allCases)
  func `results have the same bits with any number of threads`(_ set: InstructionSet) throws {
    guard set.isAvailable else {
      print("SKIP \(set): not in this binary or not on this CPU")
      return
    }
    print("seed 7")
    for types in Self.types {
      for (qoHeads, kvHeads, rows, dim) in [(8, 4, 1, 20), (4, 2, 9, 16)] {
        for layout in [KVLayout.nhd, .hnd] {
          let problem = AttentionProblem(
            shape: AttentionShape(
              qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: dim, headDimVO: dim),
            types: AttentionTypes(q: types.q, kv: types.kv, o: .f32),
            qoIndptr: RaggedIndptr(uniform: rows, batch: 2),
            geometry: .padded(maxLength: 1100, lengths: [1100, 133]), layout: layout,
            mask: AttentionMask(isCausal: true))
          let results = try Self.run(
            problem, on: [1, 2, 5].map { try CPUEngine(instructionSet: set, threadCount: $0) })
          #expect(results[0] == results[1] && results[0] == results[2], "\(types) \(layout)")
          #expect(results[0].contains { $0 != 0 })
        }
      }
    }
  }

  @Test func `calls that meet in one engine have the bits of a call alone`() async throws {
    print("seed 7")
    let engine = try CPUEngine(threadCount: 3)
    let problems = [(1, 1100), (9, 300), (40, 129)].map { rows, keys in
      AttentionProblem(
        shape: AttentionShape(qoHeadCount: 8, kvHeadCount: 4, headDimQK: 24, headDimVO: 24),
        types: AttentionTypes(q: .bf16, kv: .bf16, o: .f32),
        qoIndptr: RaggedIndptr(uniform: rows, batch: 2),
        geometry: .padded(maxLength: 1100, lengths: [keys, 133]),
        mask: AttentionMask(isCausal: true))
    }
    let alone = try problems.map { try Self.run($0, on: [engine])[0] }
    try await withThrowingTaskGroup(of: (Int, [UInt32]).self) { group in
      for call in 0..<12 {
        let index = call % problems.count
        group.addTask { (index, try Self.run(problems[index], on: [engine])[0]) }
      }
      for try await (index, bits) in group { #expect(bits == alone[index], "\(problems[index])") }
    }
  }

  /// Bits of o of each engine for the same inputs.
  private static func run(
    _ problem: AttentionProblem, on engines: [CPUEngine]
  ) throws -> [[UInt32]] {
    var generator = SplitMix64(seed: 7)
    let shape = problem.shape
    let dim = shape.headDimQK
    func tensor(_ type: ElementType, _ extents: [Int]) -> Buffer {
      let buffer = Buffer(count: extents.reduce(1, *), type, extents)
      for index in 0..<buffer.count {
        type.store(Float.random(in: -1..<1, using: &generator), to: buffer.start, at: index)
      }
      return buffer
    }
    let rows = problem.qoIndptr.end
    let cache =
      problem.layout == .nhd
      ? [2, 1100, shape.kvHeadCount, dim] : [2, shape.kvHeadCount, 1100, dim]
    let q = tensor(problem.types.q, [rows, shape.qoHeadCount, dim])
    let k = tensor(problem.types.kv, cache)
    let v = tensor(problem.types.kv, cache)
    let o = tensor(.f32, [rows, shape.qoHeadCount, dim])
    let plan = try CPUAttention.plan(problem, operation: "test")
    let workspace = UnsafeMutableRawPointer.allocate(
      byteCount: max(plan.workspaceByteCount, 4), alignment: 64)
    defer { workspace.deallocate() }
    return engines.map { engine in
      engine.run(
        plan,
        AttentionArguments(q: .packed(q.view), kv: .separate(k: k.view, v: v.view), o: o.view),
        workspace: workspace)
      return (0..<o.count).map { o.start.load(fromByteOffset: 4 * $0, as: UInt32.self) }
    }
  }

  /// A dense tensor of its own.
  private final class Buffer {
    let start: UnsafeMutableRawPointer
    let count: Int
    let view: TensorView

    init(count: Int, _ type: ElementType, _ shape: [Int]) {
      self.count = count
      let bytes = count * type.byteCount
      start = .allocate(byteCount: bytes, alignment: 64)
      view = TensorView(
        UnsafeMutableRawBufferPointer(start: start, count: bytes), ScalarType(type), shape: shape)
    }

    deinit { start.deallocate() }
  }
}
