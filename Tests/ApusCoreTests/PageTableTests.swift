import ApusCore
import ApusTestSupport
import Testing

@Suite struct PageTableTests {
  /// The same requests in block form: 4, 5 and 0 tokens; unused entries are −1.
  private let blocks = PageTable(
    pageSize: 4, blocks: [2, -1, 0, 2, -1, -1], pagesPerRequest: 2, lengths: [4, 5, 0])
  private let rows = PageTable(
    pageSize: 4, indptr: RaggedIndptr([0, 1, 3, 3]), indices: [2, 0, 2],
    lastPageLength: [4, 1, 0])

  @Test func `both forms answer alike`() {
    withEvery("table", in: [rows, blocks]) { table in
      expectEqual(table.batch, 3)
      expectEqual((0..<3).map(table.length), [4, 5, 0])
      expectEqual((0..<3).map(table.pageCount), [1, 2, 0])
      expectEqual([table.page(0, 0), table.page(1, 0), table.page(1, 1)], [2, 0, 2])
      expectEqual(table.greatestPage, 2)
      expectEqual(verdict { $0.requirePageTable(table) }, [])
      expectEqual(table.compressed, rows)
    }
  }

  @Test func `compressing keeps pages and lengths of every block table`() {
    var random = SplitMix64(seed: 41)
    withEvery("pageSize", in: [1, 2, 3, 16]) { pageSize in
      withEvery("batch", in: 0..<5) { batch in
        let width = Int.random(in: 0..<4, using: &random)
        let lengths = (0..<batch).map { _ in
          Int.random(in: 0...(width * pageSize), using: &random)
        }
        let entries = (0..<(batch * width)).map { _ in Int32.random(in: 0..<9, using: &random) }
        let table = PageTable(
          pageSize: pageSize, blocks: entries, pagesPerRequest: width, lengths: lengths)
        let compressed = table.compressed
        expectEqual(verdict { $0.requirePageTable(compressed) }, [])
        expectEqual(compressed.batch, batch)
        expectEqual(compressed.greatestPage, table.greatestPage)
        for r in 0..<batch {
          expectEqual(compressed.length(r), lengths[r])
          let count = (lengths[r] + pageSize - 1) / pageSize
          expectEqual(compressed.pageCount(r), count)
          expectEqual(
            (0..<count).map { compressed.page(r, $0) },
            entries[(r * width)..<(r * width + count)].map(Int.init))
        }
      }
    }
  }

  @Test func `no request and no page are valid`() {
    let none = PageTable(pageSize: 1, indptr: RaggedIndptr([0]), indices: [], lastPageLength: [])
    let empty = PageTable(pageSize: 1, blocks: [], pagesPerRequest: 0, lengths: [0, 0])
    let wide = PageTable(pageSize: .max >> 32, blocks: [], pagesPerRequest: .max, lengths: [])
    withEvery("table", in: [none, empty, wide]) { table in
      expectEqual(verdict { $0.requirePageTable(table) }, [])
      expectEqual(table.greatestPage, -1)
    }
  }

  @Test func `the last page length of a request without pages is ignored`() {
    for last in [Int32.min, -1, 0, 99, .max] {
      let table = PageTable(
        pageSize: 4, indptr: RaggedIndptr([0, 0]), indices: [], lastPageLength: [last])
      #expect(verdict { $0.requirePageTable(table) } == [])
      #expect(table.length(0) == 0)
    }
  }

  @Test func `both forms accept the longest request and no longer one`() {
    let half = 1 << 30
    let longest = PageTable(
      pageSize: half, blocks: [0, 1], pagesPerRequest: 2, lengths: [Int(Int32.max)])
    #expect(verdict { $0.requirePageTable(longest) } == [])
    #expect(verdict { $0.requirePageTable(longest.compressed) } == [])
    let longer = PageTable(
      pageSize: half, indptr: RaggedIndptr([0, 2]), indices: [0, 1],
      lastPageLength: [Int32(half)])
    #expect(
      verdict { $0.requirePageTable(longer) } == [
        "a request must hold at most 2147483647 tokens; found 2 pages of 1073741824 at request 0."
      ])
  }

  @Test func `each rule of the compressed form has its message`() {
    func complaint(
      pageSize: Int = 4, _ offsets: [Int] = [0, 1, 3], _ indices: [Int32] = [2, 0, 2],
      _ last: [Int32] = [4, 1]
    ) -> [String] {
      let table = PageTable(
        pageSize: pageSize, indptr: RaggedIndptr(offsets), indices: indices, lastPageLength: last)
      return verdict { $0.requirePageTable(table) }
    }
    #expect(complaint() == [])
    #expect(complaint(pageSize: 0) == ["pageSize must be at least 1; found 0."])
    #expect(
      complaint(pageSize: .max) == ["pageSize must fit 31 bits; found 9223372036854775807."])
    #expect(
      complaint([]) == [
        "pageIndptr must hold batch + 1 offsets; found none. Pass [0] for an empty batch."
      ])
    #expect(complaint([0, 1, 4]) == ["pageIndptr must end within pageIndices; found 4 of 3."])
    #expect(
      complaint([0, 3], [2, 0, 2], [4, 1]) == [
        "lastPageLength must hold one value per request; found 2 for batch 1."
      ])
    #expect(
      complaint([0, 1, 4], [2, 0, 2], []) == [
        "pageIndptr must end within pageIndices; found 4 of 3.",
        "lastPageLength must hold one value per request; found 0 for batch 2.",
      ])
    for bad in [Int32.min, 0, 5, .max] {
      #expect(
        complaint([0, 1, 3], [2, 0, 2], [4, bad]) == [
          "lastPageLength must be in 1…4 (pageSize); found \(bad) at request 1. "
            + "A request without tokens has no pages at all."
        ])
    }
    #expect(
      complaint([0, 1, 3], [2, 0, .min]) == [
        "page indices in use must be at least 0; found -2147483648 at request 1, page 1."
      ])
  }

  @Test func `each rule of the block table has its message`() {
    func complaint(
      pageSize: Int = 4, _ blocks: [Int32], _ width: Int, _ lengths: [Int]
    ) -> [String] {
      let table = PageTable(
        pageSize: pageSize, blocks: blocks, pagesPerRequest: width, lengths: lengths)
      return verdict { $0.requirePageTable(table) }
    }
    #expect(complaint([0], -1, [4]) == ["pagesPerRequest must be at least 0; found -1."])
    #expect(
      complaint([0, 1, 2], 2, [4, 4]) == [
        "the block table must hold batch × pagesPerRequest entries; found 3 for 2 × 2."
      ])
    #expect(
      complaint([0], .max, [4, 4]) == [
        "the block table must hold batch × pagesPerRequest entries; "
          + "found 1 for 2 × 9223372036854775807."
      ])
    for bad in [Int.min, -1, 9, .max] {
      #expect(
        complaint([0, 1], 2, [bad]) == [
          "kv lengths must be in 0…8 (pagesPerRequest × pageSize); found \(bad) at request 0. "
            + "Widen the block table."
        ])
    }
    #expect(
      complaint([0], 2, [4, 9]) == [
        "the block table must hold batch × pagesPerRequest entries; found 1 for 2 × 2.",
        "kv lengths must be in 0…8 (pagesPerRequest × pageSize); found 9 at request 1. "
          + "Widen the block table.",
      ])
    #expect(
      complaint(pageSize: 1 << 30, [0, 1, 2], 3, [1 << 31]) == [
        "kv lengths must be in 0…2147483647 (pagesPerRequest × pageSize); "
          + "found 2147483648 at request 0. Widen the block table."
      ])
    #expect(
      complaint([0, -1], 2, [5]) == [
        "page indices in use must be at least 0; found -1 at request 0, page 1."
      ])
    #expect(complaint([0, -1], 2, [4]) == [])
  }

  @Test func `descriptions name size, batch and form`() {
    #expect("\(rows)" == "pages(size 4, batch 3, 3 indices)")
    #expect("\(blocks)" == "pages(size 4, batch 3, block table width 2)")
    let hostile = PageTable(pageSize: .min, blocks: [], pagesPerRequest: .max, lengths: [.min])
    #expect(
      "\(hostile)"
        == "pages(size -9223372036854775808, batch 1, block table width 9223372036854775807)")
  }
}
