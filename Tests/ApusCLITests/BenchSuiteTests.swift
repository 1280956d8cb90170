import ApusNumerics
import Testing

@testable import ApusCLI

@Suite struct BenchSuiteTests {
  @Test func `names are unique and none is a part of another`() throws {
    let names = BenchSuite.cpu.cases.map(\.name).sorted()
    #expect(Set(names).count == names.count)
    for (name, next) in zip(names, names.dropFirst()) {
      // Sorted, whatever begins with a name follows it at once.
      #expect(!next.hasPrefix(name))
      // The first word stands nowhere else, so a name can only be a part of another at its start.
      let words = name.split(separator: "_")
      let first = try #require(words.first)
      #expect(!words.dropFirst().contains(first))
    }
  }

  @Test(arguments: [
    // 45 single; 2 caches · 3 batches · 3 lengths · 3 heads · 2 widths · 5 types; 16 variations.
    (suite: BenchSuite.decode, count: 45 + 540 + 16),
    (suite: .prefill, count: 5 * 2 * 2 * 3),
    (suite: .append, count: 2 * 2 * 3 * 2 * 3),
    // 4 heads · 2 batches · (3 lengths · 3 types + one with two queries).
    (suite: .mla, count: 4 * 2 * 10),
    (suite: .ops, count: 8 + 8 + 4),
    (suite: .cpu, count: 601 + 60 + 72 + 80 + 20),
  ])
  func `every suite has its table`(_ item: (suite: BenchSuite, count: Int)) {
    #expect(item.suite.cases.count == item.count)
  }

  @Test(arguments: BenchSuite.allCases)
  func `every suite has a small quick subset of its own`(_ suite: BenchSuite) {
    let quick = suite.cases(quick: true, filters: [])
    let all = Set(suite.cases.map(\.name))
    #expect(!quick.isEmpty)
    #expect(quick.count <= 50)
    #expect(quick.allSatisfy { all.contains($0.name) })
    // Half a gigabyte of cache at most keeps a run short.
    #expect(quick.allSatisfy { $0.shape.cacheByteCount <= 512 << 20 })
  }

  @Test func `every filter must match`() {
    let cases = BenchSuite.decode.cases(quick: false, filters: ["_b16_", "kv_e4m3", "paged16"])
    #expect(
      cases.allSatisfy {
        $0.shape.batch == 16 && $0.shape.kv.type == .e4m3 && $0.shape.cache == .paged
          && $0.shape.pageSize == 16
      })
    // 3 lengths · 3 heads · 2 widths and HND.
    #expect(cases.count == 19)
    #expect(BenchSuite.decode.cases(quick: false, filters: ["nothing"]).isEmpty)
  }

  @Test func `a full name selects one case`() {
    let name = "decode_padded_b1_kv8192_h32x8_d128_q_f16_kv_f16"
    #expect(BenchSuite.cpu.cases(quick: false, filters: [name]).map(\.name) == [name])
  }

  @Test func `caches beyond 4 GiB are skipped and the reason says so`() throws {
    let name = "decode_padded_b16_kv32768_h32x32_d128_q_bf16_kv_bf16"
    let item = try #require(BenchSuite.decode.cases.first { $0.name == name })
    #expect(
      item.skipReason(physicalMemory: 1 << 40) == "the cache takes 8.0 GiB, more than 4")
    let exact = try #require(
      BenchSuite.decode.cases.first {
        $0.name == "decode_padded_b16_kv8192_h32x32_d128_q_f32_kv_f32"
      })
    #expect(exact.shape.cacheByteCount == 4 << 30)
    #expect(exact.skipReason(physicalMemory: 1 << 40) == nil)
    #expect(
      exact.skipReason(physicalMemory: 4 << 30)
        == "the cache takes 4.0 GiB, more than half of this machine's memory")
  }
}
