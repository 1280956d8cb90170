import ApusCore
import Testing

@Suite struct BitOrderTests {
  @Test func `little counts from the least significant bit and big from the most`() {
    #expect((0..<9).map(BitOrder.little.bit) == [1, 2, 4, 8, 16, 32, 64, 128, 1])
    #expect((0..<9).map(BitOrder.big.bit) == [128, 64, 32, 16, 8, 4, 2, 1, 128])
    #expect(BitOrder.allCases.map(\.description) == ["little", "big"])
  }
}
