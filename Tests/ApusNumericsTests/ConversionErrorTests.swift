import ApusNumerics
import ApusTestSupport
import Testing

struct ConversionErrorTests {
  @Test func `messages state requirement, values and remedy`() {
    expectEqual(
      ConversionError.widenSizeMismatch(type: .f16, sourceByteCount: 9, destinationCount: 5)
        .description,
      "ElementType.widen: source.count must be 2 × destination.count for f16; "
        + "found 9 bytes and 5 elements. Pass buffers over the same elements.")
    expectEqual(
      ConversionError.narrowSizeMismatch(type: .e4m3, sourceCount: 4, destinationByteCount: 3)
        .description,
      "ElementType.narrow: destination.count must be 1 × source.count for e4m3; "
        + "found 3 bytes and 4 elements. Pass buffers over the same elements.")
  }
}
