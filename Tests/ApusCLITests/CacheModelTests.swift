import ApusCore
import Testing

@testable import ApusCLI

@Suite struct CacheModelTests {
  /// Llama 3 70B (arXiv 2407.21783, table 3): 80 layers, 64 query heads, 8 KV heads, dimension 128.
  private static let llama70B = CacheModel(
    layerCount: 80, qoHeadCount: 64, kvHeadCount: 8, headDimK: 128, headDimV: 128)

  /// DeepSeek-V2 (arXiv 2405.04434, §3.1.2): 60 layers, 128 heads of 128 + 64, latent 512 + 64.
  private static let deepSeekV2 = CacheModel(
    layerCount: 60, qoHeadCount: 128, kvHeadCount: 128, headDimK: 192, headDimV: 128,
    latent: CacheModel.Latent(ckv: 512, kpe: 64))

  private func size(
    _ model: CacheModel, _ kind: CacheKind, bits: Double = 16, scales: CacheScales = .none
  ) -> CacheSize {
    CacheSize(model, kind: kind, type: "any", bits: bits, scales: scales)
  }

  @Test func `Llama 3 70B keeps 320 KiB a token in bf16`() {
    let gqa = size(Self.llama70B, .gqa)
    #expect(gqa.valuesPerToken == 2 * 8 * 128 * 80)
    #expect(gqa.bytesPerToken == 327_680)
    #expect(gqa.tokensPerGiB == 3276)
    #expect(size(Self.llama70B, .mha).bytesPerToken == 8 * 327_680)
  }

  @Test func `FP8 halves the cache`() {
    for kind in CacheKind.allCases {
      #expect(
        size(Self.deepSeekV2, kind, bits: 8).change(against: size(Self.deepSeekV2, kind)) == -0.5)
    }
  }

  @Test func `a DeepSeek token is 576 values a layer`() {
    var v3 = Self.deepSeekV2
    v3.layerCount = 61
    #expect(size(Self.deepSeekV2, .mla).valuesPerToken == 576 * 60)
    #expect(size(v3, .mla).bytesPerToken == 70_272)
  }

  @Test func `the 93 percent of DeepSeek-V2's paper follow from its sizes`() {
    let report = MemoryReport(
      Self.deepSeekV2, scales: .none, bits: 6,
      against: CacheModel(
        layerCount: 95, qoHeadCount: 8, kvHeadCount: 8, headDimK: 128, headDimV: 128))
    let change = report.findings.last?.change ?? 0
    #expect((change * 1000).rounded() == -933)
    #expect(report.text.hasSuffix("389 120 → 25 920 bytes a token, −93.3 %"))
  }

  @Test func `MLA against MHA of the same model`() {
    let change = size(Self.deepSeekV2, .mla).change(against: size(Self.deepSeekV2, .mha))
    #expect(change == 576.0 / (128 * 320) - 1)
  }

  @Test func `token-head scales add 4 bytes a head and tensor, and only to FP8`() {
    let model = Self.llama70B
    #expect(
      size(model, .gqa, bits: 8, scales: .tokenHead).bytesPerToken == 163_840 + 80 * 8 * 2 * 4)
    #expect(
      size(Self.deepSeekV2, .mla, bits: 8, scales: .tokenHead).bytesPerToken == 34_560 + 60 * 4)
    #expect(size(model, .gqa, scales: .tokenHead).bytesPerToken == 327_680)
    let heads = size(model, .gqa, bits: 8, scales: .head)
    #expect(heads.bytesPerToken == 163_840)
    #expect(heads.fixedBytes == 80 * 8 * 2 * 4)
  }

  @Test func `kinds follow from heads and latent`() {
    #expect(Self.llama70B.kinds == [.mha, .gqa])
    #expect(Self.llama70B.ownKind == .gqa)
    #expect(Self.deepSeekV2.kinds == [.mha, .mla])
    #expect(Self.deepSeekV2.ownKind == .mla)
  }

  @Test func `every size out of range is named at once`() {
    let model = CacheModel(
      layerCount: 0, qoHeadCount: 6, kvHeadCount: 4, headDimK: .max, headDimV: 1,
      latent: CacheModel.Latent(ckv: 0, kpe: -1))
    let error = #expect(throws: ArgumentError.self) { try model.validate() }
    #expect(
      error?.violations.map(\.description) == [
        "layers must be in 1…65536; found 0.",
        "head-dim must be in 1…65536; found 9223372036854775807.",
        "qo-heads must be a multiple of kv-heads; found 6 and 4.",
        "latent-ckv must be in 1…65536; found 0.", "latent-kpe must be in 0…65536; found -1.",
      ])
  }
}
