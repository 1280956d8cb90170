import ApusCore
import ApusNumerics
import Testing

@testable import ApusCPU

/// What a thread holds beside the caller's tensors.
@Suite struct MemoryTests {
  static let shapes: [(qo: Int, kv: Int, qk: Int, vo: Int)] = [
    (32, 32, 64, 64), (32, 8, 64, 64), (32, 32, 128, 128), (32, 8, 128, 128), (64, 8, 128, 128),
    (71, 1, 64, 64), (16, 16, 192, 128), (8, 4, 256, 256), (16, 1, 576, 512), (128, 1, 576, 512),
    (128, 2, 576, 576),
  ]

  @Test(arguments: shapes)
  func `a thread needs less than 2 MB`(_ shape: (qo: Int, kv: Int, qk: Int, vo: Int)) {
    for type in ElementType.allCases {
      for layout in [KVLayout.nhd, .hnd] {
        let problem = AttentionProblem(
          shape: AttentionShape(
            qoHeadCount: shape.qo, kvHeadCount: shape.kv, headDimQK: shape.qk,
            headDimVO: shape.vo),
          types: AttentionTypes(q: .bf16, kv: type, o: .bf16),
          qoIndptr: RaggedIndptr(uniform: 1, batch: 1),
          geometry: .padded(maxLength: 4096, lengths: [4096]), layout: layout)
        let scratch = Scratch(
          ScratchShape(Blocking(problem), headDimQK: shape.qk, headDimVO: shape.vo))
        #expect(scratch.byteCount > 0)
        #expect(
          scratch.byteCount < ScratchPool.bytesPerThread, "\(shape) \(type): \(scratch.byteCount)")
      }
    }
  }

  /// The scratch shape of decode with one head.
  static func shape(headDim: Int) -> ScratchShape {
    let problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: headDim),
      types: AttentionTypes(q: .f32), qoIndptr: RaggedIndptr(uniform: 1, batch: 1),
      geometry: .padded(maxLength: 1, lengths: [1]))
    return ScratchShape(Blocking(problem), headDimQK: headDim, headDimVO: headDim)
  }

  @Test func `a loop takes the scratches of the workers that took part, and no others`() {
    let pool = ScratchPool(byteLimit: 8 * ScratchPool.bytesPerThread)
    let scratches = WorkerScratches(pool: pool, shape: Self.shape(headDim: 8), 8)
    #expect(scratches[5] === scratches[5])
    #expect(scratches[2] !== scratches[5])
    #expect(pool.count == 0)
    scratches.giveBack()
    #expect(pool.count == 2)
    scratches.giveBack()
    #expect(pool.count == 2)
  }

  @Test func `scratches that wait stay within the bytes of their threads, the last ones first`() {
    let shapes = stride(from: 8, through: 512, by: 24).map(Self.shape(headDim:))
    let pool = ScratchPool(byteLimit: ScratchPool.bytesPerThread)
    var given: [Scratch] = []
    for shape in shapes {
      let scratch = pool.take(shape)
      pool.give(scratch)
      given.append(scratch)
      let kept = given.suffix(pool.count)
      #expect(kept.reduce(0) { $0 + $1.byteCount } <= ScratchPool.bytesPerThread)
      #expect(!kept.isEmpty)
      #expect(pool.take(shape) === scratch)
      pool.give(scratch)
    }
    #expect(pool.count < shapes.count)
  }
}
