import ApusCore
import ApusTestSupport
import Testing

@Suite struct AttentionShapeTests {
  private func complaint(
    _ qoHeads: Int = 8, _ kvHeads: Int = 2, _ qk: Int = 64, _ vo: Int? = nil,
    latent: LatentShape? = nil
  ) -> [String] {
    complaints {
      $0.requireShape(
        AttentionShape(
          qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: qk, headDimVO: vo),
        latent: latent)
    }
  }

  @Test func `descriptions and group size`() {
    let shape = AttentionShape(qoHeadCount: 32, kvHeadCount: 8, headDimQK: 128)
    #expect("\(shape)" == "heads 32/8, dim 128")
    #expect(shape.groupSize == 4)
    let wide = AttentionShape(qoHeadCount: 16, kvHeadCount: 1, headDimQK: 192, headDimVO: 128)
    #expect("\(wide)" == "heads 16/1, dim 192→128")
    #expect("\(LatentShape())" == "latent 512+64")
    for heads in [0, -1, Int.min] {
      #expect(
        AttentionShape(qoHeadCount: .min, kvHeadCount: heads, headDimQK: 8).groupSize == 0)
    }
  }

  @Test func `every multiple of 8 up to 576 and 512 is accepted and nothing else`() {
    for dim in [Int.min, -8] + Array(-1...600) + [.max - 7, .max] {
      let isQK = dim >= 8 && dim <= 576 && dim % 8 == 0
      #expect(complaint(8, 2, dim, 64).isEmpty == isQK, "qk \(dim)")
      let isVO = dim >= 8 && dim <= 512 && dim % 8 == 0
      #expect(complaint(8, 2, 64, dim).isEmpty == isVO, "vo \(dim)")
    }
  }

  @Test func `every group size is accepted and remainders are not`() {
    for qo in -1...40 {
      for kv in -1...40 {
        let isValid = qo >= 1 && kv >= 1 && qo % kv == 0
        #expect(complaint(qo, kv).isEmpty == isValid, "\(qo)/\(kv)")
      }
    }
    #expect(complaint(65_536, 65_536) == [])
  }

  @Test func `each rule has its message`() {
    for (qo, kv) in [(0, 2), (8, 0), (Int.min, -1)] {
      #expect(
        complaint(qo, kv) == [
          "qoHeadCount and kvHeadCount must be at least 1; found \(qo) and \(kv)."
        ])
    }
    #expect(complaint(65_537, 1) == ["qoHeadCount must be at most 65536; found 65537."])
    #expect(
      complaint(32, 3) == ["qoHeadCount must be a multiple of kvHeadCount; found 32 and 3."])
    #expect(
      complaint(.max, 2, 65, -8) == [
        "qoHeadCount must be at most 65536; found 9223372036854775807.",
        "qoHeadCount must be a multiple of kvHeadCount; found 9223372036854775807 and 2.",
        "headDimQK must be a multiple of 8 in 8…576; found 65.",
        "headDimVO must be a multiple of 8 in 8…512; found -8.",
      ])
  }

  @Test func `a latent ties the dimensions`() {
    #expect(complaint(16, 1, 576, 512, latent: LatentShape()) == [])
    #expect(complaint(16, 1, 576, 1, latent: LatentShape()) == [])
    #expect(complaint(1, 1, 1, 1, latent: LatentShape(ckv: 1, kpe: 0)) == [])
    #expect(complaint(1, 1, 576, 576, latent: LatentShape(ckv: 576, kpe: 0)) == [])
    #expect(
      complaint(16, 1, 575, 513, latent: LatentShape()) == [
        "headDimQK must equal ckv + kpe of the latent; found 575 and 512 + 64.",
        "headDimVO must be in 1…512 (ckv); found 513.",
      ])
    #expect(
      complaint(16, 1, 576, 0, latent: LatentShape()) == [
        "headDimVO must be in 1…512 (ckv); found 0."
      ])
    for (ckv, kpe) in [(0, 64), (64, -1), (513, 64), (Int.max, .max), (.min, .min)] {
      #expect(
        complaint(16, 1, 576, 512, latent: LatentShape(ckv: ckv, kpe: kpe)) == [
          "latent widths must be ckv ≥ 1, kpe ≥ 0 and together at most 576; "
            + "found \(ckv) and \(kpe)."
        ])
    }
  }
}
