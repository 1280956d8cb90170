import ApusNumerics
import Testing

@testable import ApusCLI

/// Every expectation is counted by hand in its comment.
@Suite struct BenchWorkTests {
  @Test func `batch decode reads its cache once for all query heads`() {
    let item = BenchCase(
      .batchDecode,
      BenchShape(
        batch: 2, kvLength: 10, qoHeadCount: 4, kvHeadCount: 2, headDimQK: 8, headDimVO: 8,
        q: ElementName(.f32), kv: ElementName(.e4m3), o: ElementName(.bf16), cache: .padded))
    // q 2·4·8·4 = 256; K and V 2·10·2·(8 + 8)·1 = 640; o 2·4·8·2 = 128.
    #expect(BenchWork.bytes(item) == 256 + 640 + 128)
    // 2 requests · 4 heads · 10 keys · 2 · (8 + 8).
    #expect(BenchWork.flops(item) == 2560)
    #expect(BenchWork(item).cacheBytes == 640)
  }

  @Test func `widths of k and v may differ`() {
    let item = BenchCase(
      .singleDecode,
      BenchShape(
        kvLength: 3, qoHeadCount: 1, kvHeadCount: 1, headDimQK: 6, headDimVO: 4,
        q: ElementName(.f16), kv: ElementName(.f16), o: ElementName(.f16), cache: .ragged))
    // q 12; K 3·6·2 = 36; V 3·4·2 = 24; o 8.
    #expect(BenchWork.bytes(item) == 80)
    // 3 · 2 · (6 + 4).
    #expect(BenchWork.flops(item) == 60)
  }

  @Test func `a latent row is read once for its two roles`() {
    let item = BenchCase(
      .mlaDecode,
      BenchShape(
        batch: 1, qoLength: 1, kvLength: 5, qoHeadCount: 2, kvHeadCount: 1, headDimQK: 576,
        headDimVO: 512, q: ElementName(.bf16), kv: ElementName(.bf16), o: ElementName(.bf16),
        cache: .latent, pageSize: 64, isCausal: true))
    // q 2·576·2 = 2304; latent 5·576·2 = 5760; o 2·512·2 = 2048.
    #expect(BenchWork.bytes(item) == 10112)
    // 2 heads · 5 keys · 2 · (576 + 512).
    #expect(BenchWork.flops(item) == 21760)
  }

  @Test(arguments: [
    (qo: 3, kv: 3, pairs: 6),  // 1 + 2 + 3
    (qo: 2, kv: 5, pairs: 9),  // 4 + 5
    (qo: 5, kv: 2, pairs: 3),  // 0 + 0 + 0 + 1 + 2
    (qo: 1, kv: 7, pairs: 7),
    (qo: 0, kv: 7, pairs: 0),
    (qo: 7, kv: 0, pairs: 0),
  ])
  func `causal pairs are those of the definition`(_ item: (qo: Int, kv: Int, pairs: Int)) {
    let counted = BenchWork.visiblePairs(
      qoLength: item.qo, kvLength: item.kv, isCausal: true)
    #expect(counted == item.pairs)
    let full = BenchWork.visiblePairs(qoLength: item.qo, kvLength: item.kv, isCausal: false)
    #expect(full == item.qo * item.kv)
  }

  @Test func `a merge reads its states and writes one`() {
    let item = BenchCase(
      .mergeStates,
      BenchShape(
        qoLength: 2, qoHeadCount: 3, headDimVO: 4, q: ElementName(.bf16), o: ElementName(.f32),
        stateCount: 5))
    // 6 rows and heads: 5 states of 4·2 + 4 bytes in, 4·4 + 4 out.
    #expect(BenchWork.bytes(item) == 6 * 5 * 12 + 6 * 20)
    // 6 · 4 elements · 5 states · 2.
    #expect(BenchWork.flops(item) == 240)
  }

  @Test func `a cache append reads and writes its rows alone`() {
    var shape = BenchShape(
      batch: 2, qoLength: 3, kvLength: 100, kvHeadCount: 2, headDimQK: 4, headDimVO: 4,
      q: ElementName(.bf16), kv: ElementName(.e4m3), cache: .paged, pageSize: 16,
      hasDynamicScale: false)
    // 6 tokens · 2 heads · 8 elements, 2 bytes in and 1 out.
    #expect(BenchWork.bytes(BenchCase(.appendKV, shape)) == 96 * 3)
    shape.hasDynamicScale = true
    // And a f32 for each of k and v per token and head.
    #expect(BenchWork.bytes(BenchCase(.appendKV, shape)) == 96 * 3 + 12 * 8)
    #expect(BenchWork.flops(BenchCase(.appendKV, shape)) == 0)
    #expect(BenchWork(BenchCase(.appendKV, shape)).cacheBytes == 0)
  }

  @Test func `a rotation reads and writes q and k`() {
    let item = BenchCase(
      .rotary,
      BenchShape(
        qoLength: 2, qoHeadCount: 3, kvHeadCount: 1, headDimQK: 4, q: ElementName(.f32),
        kv: ElementName(.f32)))
    // 2 rows · 4 heads · 4 elements · 4 bytes, in and out.
    #expect(BenchWork.bytes(item) == 256)
    // 16 pairs · 6.
    #expect(BenchWork.flops(item) == 96)
  }
}
