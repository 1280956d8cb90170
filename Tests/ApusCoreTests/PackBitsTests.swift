import ApusCore
import Testing

@Suite struct PackBitsTests {
  private func refused(
    flags: TensorView = .sample(.u8, [20]), packed: TensorView, _ offsets: [Int],
    memory: MemorySpace = .host
  ) -> String {
    let arguments = PackBitsArguments(
      flags: flags, packed: packed, indptr: RaggedIndptr(offsets), bitOrder: .big)
    return refusal { try arguments.validate(memory: memory, operation: "packBits") }
  }

  @Test func `segments take whole bytes`() {
    #expect(
      PackBitsArguments.byteIndptr(RaggedIndptr([0, 0, 1, 8, 16, 25])).offsets
        == [0, 0, 1, 2, 3, 5])
    #expect(PackBitsArguments.byteIndptr(RaggedIndptr([7])).offsets == [0])
    // Refused by validation, but asked for before it by some callers.
    _ = PackBitsArguments.byteIndptr(RaggedIndptr([.min, .max, 0, .min]))
  }

  @Test func `plain packing is one segment`() {
    let plain = PackBitsArguments(
      flags: .sample(.u8, [20]), packed: .sample(.u8, [3]), bitOrder: .little)
    #expect(plain.indptr.offsets == [0, 20])
    #expect(refusal { try plain.validate(memory: .host, operation: "packBits") } == "accepted")
    let scalar = PackBitsArguments(
      flags: .sample(.u8, []), packed: .sample(.u8, [0]), bitOrder: .little)
    #expect(
      refusal { try scalar.validate(memory: .host, operation: "packBits") }
        == "packBits: flags must have shape [any]; found [].")
  }

  @Test func `each rule has its message`() {
    #expect(refused(packed: .sample(.u8, [4]), [0, 3, 20]) == "accepted")
    #expect(refused(packed: .sample(.u8, [1]), [4, 5]) == "accepted")
    #expect(
      refused(packed: .sample(.u8, [3]), [0, 3, 20])
        == "packBits: packed must have shape [4]; found [3].")
    #expect(
      refused(packed: .sample(.u8, [3]), [0, 21])
        == "packBits: indptr must end within the flags; found 21 of 20.")
    #expect(
      refused(packed: .sample(.u8, [3]), [0, .max, .min])
        == "packBits: indptr must not decrease; "
        + "found 9223372036854775807 then -9223372036854775808 at index 2.")
    #expect(
      refused(
        flags: .sample(.i32, [20], strides: [2]), packed: .sample(.f32, [3], strides: [0]),
        [0, 20], memory: .cuda(device: 0)) == """
          packBits: 7 requirements do not hold:
            - flags must live in cuda:0 memory; found host.
            - packed must live in cuda:0 memory; found host.
            - flags must have type u8; found i32.
            - flags must be contiguous in its last dimension; found stride 2. Copy it to a contiguous tensor first.
            - packed must have type u8; found f32.
            - packed must be contiguous in its last dimension; found stride 0. Copy it to a contiguous tensor first.
            - packed is written and its elements must not overlap; found shape [3], strides [0].
          """)
  }
}
