import ApusCore
import Testing

@Suite struct ScoreModificationTests {
  private func complaint(
    _ modification: ScoreModification, latent: LatentShape? = nil
  ) -> [String] {
    let shape = AttentionShape(qoHeadCount: 4, kvHeadCount: 2, headDimQK: 64)
    return complaints { $0.requireModification(modification, shape: shape, latent: latent) }
  }

  /// The lists of the paper's own program (arXiv 2108.12409), as exponents of 2.
  @Test func `alibi slopes are the published ones`() {
    func powers(_ exponents: [Double]) -> [Float] {
      exponents.map { exponent in
        // Integer steps are exact; half steps are √½ of the next power, rounded once.
        let whole = exponent.rounded(.up)
        let power = Double(sign: .plus, exponent: Int(whole), significand: 1)
        return Float(whole == exponent ? power : power * 0.5.squareRoot())
      }
    }
    let eight = [-1, -2, -3, -4, -5, -6, -7, -8] as [Double]
    #expect(ScoreModification.alibiSlopes(headCount: 8) == powers(eight))
    #expect(
      ScoreModification.alibiSlopes(headCount: 12) == powers(eight + [-0.5, -1.5, -2.5, -3.5]))
    #expect(
      ScoreModification.alibiSlopes(headCount: 16) == powers((1...16).map { -Double($0) / 2 }))
    #expect(ScoreModification.alibiSlopes(headCount: 1) == [0x1p-8])
    #expect(ScoreModification.alibiSlopes(headCount: 3) == [0x1p-4, 0x1p-8, 0x1p-2])
    for none in [0, -1, Int.min] {
      #expect(ScoreModification.alibiSlopes(headCount: none) == [])
    }
  }

  @Test func `slopes decrease from the first head to the nth`() {
    for headCount in 1...130 {
      let slopes = ScoreModification.alibiSlopes(headCount: headCount)
      #expect(slopes.count == headCount)
      #expect(Set(slopes).count == headCount)
      #expect(slopes.allSatisfy { $0 > 0 && $0 < 1 })
    }
  }

  @Test func `a soft cap of 0 is off`() {
    #expect(ScoreModification().activeSoftCap == nil)
    #expect(ScoreModification(logitsSoftCap: 0).activeSoftCap == nil)
    #expect(ScoreModification(logitsSoftCap: -0.0).activeSoftCap == nil)
    #expect(ScoreModification(logitsSoftCap: 30).activeSoftCap == 30)
    #expect(complaint(ScoreModification(logitsSoftCap: 0)) == [])
  }

  @Test func `the scale defaults to the root of the dimension`() {
    #expect(ScoreModification().resolvedScale(headDimQK: 64) == 0.125)
    #expect(ScoreModification().resolvedScale(headDimQK: 192) == Float(1 / 192.0.squareRoot()))
    #expect(ScoreModification(softmaxScale: 2).resolvedScale(headDimQK: 64) == 2)
    #expect(ScoreModification().resolvedScale(headDimQK: 0) == .infinity)
    #expect(ScoreModification().resolvedScale(headDimQK: .min).isNaN)
  }

  @Test func `each rule has its message`() {
    #expect(complaint(ScoreModification()) == [])
    #expect(complaint(ScoreModification(softmaxScale: -1, alibiSlopes: [1, 2, 3, -4])) == [])
    for (value, text) in [(Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")] {
      #expect(
        complaint(ScoreModification(softmaxScale: value)) == [
          "softmaxScale must be finite; found \(text)."
        ])
    }
    for cap: Float in [0x1p-126, 0x1p126] {
      #expect(complaint(ScoreModification(logitsSoftCap: cap)) == [])
    }
    // Beyond, 1 / cap or cap · log₂e may leave f32.
    for (value, text) in [
      (Float.nan, "nan"), (.infinity, "inf"), (-1, "-1.0"), (0x1p-140, "\(Float(0x1p-140))"),
      (3e38, "3e+38"),
    ] {
      #expect(
        complaint(ScoreModification(logitsSoftCap: value)) == [
          "logitsSoftCap must be in 2^-126…2^126, or 0 (off); found \(text)."
        ])
    }
    #expect(
      complaint(ScoreModification(alibiSlopes: [1, .infinity, .nan])) == [
        "alibiSlopes must hold one slope per query head; found 3 for 4.",
        "alibiSlopes must be finite; found inf.",
      ])
    #expect(
      complaint(ScoreModification(rope: RotaryEmbedding(rotaryDim: 65))) == [
        "rotaryDim must be even and in 2…64 (head dimension); found 65."
      ])
    #expect(
      complaint(ScoreModification(rope: RotaryEmbedding()), latent: LatentShape()) == [
        "rope inside the operator must be off for MLA; found rope(half, scale 1.0, theta 10000.0). "
          + "Rotate q_pe and kpe before they are cached, as the latent cache expects."
      ])
  }

  @Test func `description names the parts that are on`() {
    #expect("\(ScoreModification(logitsSoftCap: 0))" == "plain")
    #expect(
      "\(ScoreModification(softmaxScale: 0.5, logitsSoftCap: 30, alibiSlopes: [], rope: .llama31Default))"
        == "scale 0.5, softcap 30.0, alibi, rope(half, scale 8.0, theta 500000.0, llama31)")
  }
}
