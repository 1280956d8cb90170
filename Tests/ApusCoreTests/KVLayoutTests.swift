import ApusCore
import Testing

@Suite struct KVLayoutTests {
  @Test func `orders tokens and heads`() {
    #expect(KVLayout.nhd.ordered(tokens: 7, heads: nil) == [7, nil])
    #expect(KVLayout.hnd.ordered(tokens: 7, heads: nil) == [nil, 7])
    #expect(KVLayout.allCases.map(\.description) == ["NHD", "HND"])
  }
}
