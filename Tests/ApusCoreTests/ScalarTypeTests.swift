import ApusCore
import ApusNumerics
import Testing

@Suite struct ScalarTypeTests {
  @Test func `names and sizes`() {
    #expect(
      ScalarType.allCases.map { "\($0) \($0.byteCount)" } == [
        "f32 4", "f16 2", "bf16 2", "e4m3 1", "e5m2 1", "u8 1", "i32 4", "i64 8",
      ])
  }

  @Test func `element types convert there and back with size and name`() {
    for element in ElementType.allCases {
      let scalar = ScalarType(element)
      #expect(scalar.elementType == element)
      #expect(scalar.byteCount == element.byteCount)
      #expect(scalar.description == element.description)
    }
    #expect([ScalarType.u8, .i32, .i64].map(\.elementType) == [nil, nil, nil])
  }
}
