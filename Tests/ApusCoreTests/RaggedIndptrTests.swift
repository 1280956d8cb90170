import ApusCore
import Testing

@Suite struct RaggedIndptrTests {
  @Test func `lengths and offsets describe the same rows`() {
    let indptr = RaggedIndptr(lengths: [2, 0, 3])
    #expect(indptr.offsets == [0, 2, 2, 5])
    #expect(indptr.batch == 3)
    #expect(indptr.end == 5)
    #expect((0..<3).map(indptr.length) == [2, 0, 3])
    #expect((0..<3).map(indptr.rows) == [0..<2, 2..<2, 2..<5])
    #expect(RaggedIndptr(offsets32: [0, 2, 2, 5]) == indptr)
    #expect(RaggedIndptr(uniform: 2, batch: 3).offsets == [0, 2, 4, 6])
  }

  @Test func `no offsets and one offset are batch 0`() {
    #expect(RaggedIndptr([Int]()).batch == 0)
    #expect(RaggedIndptr([Int]()).end == 0)
    #expect(RaggedIndptr([7]).batch == 0)
    #expect(RaggedIndptr(lengths: []).offsets == [0])
    #expect(RaggedIndptr(uniform: 4, batch: -3).offsets == [0])
  }

  @Test func `length does not trap on hostile offsets`() {
    _ = RaggedIndptr([Int.min, .max]).length(0)
    _ = RaggedIndptr([Int.max, .min]).length(0)
  }

  @Test func `a sum that overflows is refused`() {
    for lengths in [[Int.max, 1], [.max, .max, .max], [.max, 1, .max, 1], [-1, .min]] {
      let indptr = RaggedIndptr(lengths: lengths)
      #expect(verdict { $0.requireIndptr("indptr", indptr) }.count == 1, "\(lengths)")
    }
  }

  @Test func `description cuts long lists`() {
    #expect("\(RaggedIndptr([0, 1, 3]))" == "[0, 1, 3]")
    #expect(
      "\(RaggedIndptr(uniform: 2, batch: 9))" == "[0, 2, 4, 6, …, 16, 18] (10 offsets)")
  }

  @Test func `valid offsets pass`() {
    for offsets in [[0], [3], [0, 0], [5, 5, 9], [0, Int(Int32.max)]] {
      #expect(verdict { $0.requireIndptr("x", RaggedIndptr(offsets)) } == [])
    }
  }

  @Test func `each rule has its message`() {
    func complaint(_ offsets: [Int]) -> [String] {
      verdict { $0.requireIndptr("qoIndptr", RaggedIndptr(offsets)) }
    }
    #expect(
      complaint([]) == [
        "qoIndptr must hold batch + 1 offsets; found none. Pass [0] for an empty batch."
      ])
    #expect(complaint([-1, 4]) == ["qoIndptr must start at 0 or above; found -1."])
    #expect(
      complaint([Int.min, .max])
        == ["qoIndptr must start at 0 or above; found -9223372036854775808."])
    #expect(
      complaint([0, 4, 3, 2]) == ["qoIndptr must not decrease; found 4 then 3 at index 2."])
    #expect(
      complaint([0, .max, .min]) == [
        "qoIndptr must not decrease; found 9223372036854775807 then -9223372036854775808 at index 2."
      ])
    #expect(
      complaint([0, 1, 1 + 1 << 31]) == [
        "qoIndptr must give each request at most 2147483647 rows; found 2147483648 at request 1."
      ])
  }
}

extension RaggedIndptr {
  /// Names the 32-bit initialiser, which a literal cannot choose.
  fileprivate init(offsets32: [Int32]) { self.init(offsets32) }
}
