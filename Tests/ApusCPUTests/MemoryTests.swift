import ApusCore
import ApusNumerics
import Testing

@testable import ApusCPU

/// What a thread holds beside the caller's tensors.
@Suite struct MemoryTests {
  static let shapes: [(qo: Int, kv: Int, qk: Int, vo: Int)] = [
    (32, 32, 64, 64), (32, 8, 64, 64), (32, 32, 128, 128), (32, 8, 128, 128), (64, 8, 128, 128),
    (71, 1, 64, 64), (16, 16, 192, 128), (8, 4, 256, 256), (16, 1, 576, 512), (128, 1, 576, 512),
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
        #expect(scratch.byteCount < 2_000_000, "\(shape) \(type): \(scratch.byteCount)")
      }
    }
  }
}
