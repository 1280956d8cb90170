import Apus
import Testing

@Suite struct OperandSpanTests {
  func span(_ name: String, _ address: UInt64, _ count: Int, writable: Bool = false) -> OperandSpan
  {
    OperandSpan(name: name, address: address, byteCount: count, isWritable: writable)
  }

  @Test func `spans that share bytes become one and neighbours stay apart`() {
    let united = OperandSpan.united([
      span("c", 300, 10), span("a", 100, 50), span("b", 120, 10, writable: true),
      span("next", 150, 10), span("none", 110, 0),
    ])
    #expect(
      united == [
        span("a, b", 100, 50, writable: true), span("next", 150, 10), span("c", 300, 10),
      ])
  }

  @Test func `a chain of overlaps is one span`() {
    let united = OperandSpan.united([span("a", 0, 10), span("a", 9, 10), span("a", 18, 10)])
    #expect(united == [span("a", 0, 28)])
  }
}
