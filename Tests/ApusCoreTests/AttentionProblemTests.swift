import ApusCore
import ApusNumerics
import Testing

@Suite struct AttentionProblemTests {
  private func refused(_ change: (inout AttentionProblem) -> Void) -> String {
    var problem = AttentionProblem.sample()
    change(&problem)
    return refusal { try problem.validate(operation: "BatchPrefill.plan") }
  }

  @Test func `accessors answer for the batch`() {
    let problem = AttentionProblem.sample()
    #expect(refused { _ in } == "accepted")
    #expect(problem.batch == 2)
    #expect((0..<2).map(problem.qoLength) == [2, 3])
    #expect((0..<2).map(problem.kvLength) == [4, 5])
    #expect(problem.softmaxScale == 0.25)
  }

  @Test func `types default to that of q`() {
    #expect(AttentionTypes(q: .bf16) == AttentionTypes(q: .bf16, kv: .bf16, o: .bf16))
    #expect("\(AttentionTypes(q: .f16, kv: .e5m2))" == "q f16, kv e5m2, o f16")
  }

  @Test func `empty batches and longer queries than keys are valid`() {
    #expect(
      refused {
        $0.qoIndptr = RaggedIndptr([0])
        $0.geometry = .padded(maxLength: 0, lengths: [])
      } == "accepted")
    #expect(refused { $0.geometry = .ragged(RaggedIndptr([0, 0, 1])) } == "accepted")
  }

  @Test func `each rule has its message`() {
    #expect(
      refused { $0.geometry = .padded(maxLength: 9, lengths: [9]) }
        == "BatchPrefill.plan: queries and KV must have the same batch; found 2 and 1.")
    #expect(
      refused { $0.mask.windowLeft = -1 }
        == "BatchPrefill.plan: windowLeft must be at least 0; found -1. Pass nil for no window.")
    #expect(
      refused { $0.options.splitSize = 0 }
        == "BatchPrefill.plan: splitSize must be at least 1; found 0.")
    for (tolerance, text) in [(Double.nan, "nan"), (0, "0.0"), (-1, "-1.0"), (.infinity, "inf")] {
      #expect(
        refused { $0.options.precision = .automatic(tolerance: tolerance) }
          == "BatchPrefill.plan: tolerance must be finite and positive; found \(text).")
    }
    #expect(
      refused {
        $0.mask.custom = CustomMask(bytes: [0, 0], byteIndptr: RaggedIndptr([0, 1, 2]))
      } == "BatchPrefill.plan: the mask of request 1 must hold qoLength · kvLength bits; "
        + "found 1 bytes for 3 × 5 bits.")
  }

  @Test func `one error names every violation`() {
    #expect(
      refused {
        $0.shape = AttentionShape(qoHeadCount: 5, kvHeadCount: 2, headDimQK: 12)
        $0.qoIndptr = RaggedIndptr([0, .max, .min])
        $0.geometry = .padded(maxLength: -1, lengths: [])
        $0.mask = AttentionMask(windowLeft: .min)
        $0.modification.softmaxScale = .nan
        $0.options.splitSize = .min
        $0.options.precision = .automatic(tolerance: 0)
      } == """
        BatchPrefill.plan: 9 requirements do not hold:
          - qoHeadCount must be a multiple of kvHeadCount; found 5 and 2.
          - headDimQK must be a multiple of 8 in 8…576; found 12.
          - headDimVO must be a multiple of 8 in 8…512; found 12.
          - qoIndptr must not decrease; found 9223372036854775807 then -9223372036854775808 at index 2.
          - maxLength must be in 0…2147483647; found -1.
          - windowLeft must be at least 0; found -9223372036854775808. Pass nil for no window.
          - softmaxScale must be finite; found nan.
          - splitSize must be at least 1; found -9223372036854775808.
          - tolerance must be finite and positive; found 0.0.
        """)
  }

  @Test func `description is one line`() {
    #expect(
      "\(AttentionProblem.sample())"
        == "attention(heads 4/2, dim 16→8, q bf16, kv e4m3, o f16, rows 5, "
        + "ragged(batch 2, 9 tokens) NHD, mask none, plain, lse base 2, empty -inf, fast)")
    var problem = AttentionProblem.sample(latent: LatentShape(), mask: .causal)
    problem.options = ExecutionOptions(
      precision: .automatic(tolerance: 0.5), splitSize: 64, disablesSplitKV: true,
      isBatchInvariant: true)
    #expect("\(problem)".contains("dim 16→8, latent 512+64, q bf16"))
    #expect("\(problem)".hasSuffix("automatic(0.5), split 64, unsplit, batch-invariant)"))
    #expect("\(Precision.accurate)" == "accurate")
  }
}
