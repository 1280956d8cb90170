import ApusCore
import ApusReference
import ApusTestSupport
import Testing

@Suite struct ReferencePackBitsTests {
  private func pack(_ flags: [UInt8], _ indptr: [Int], _ order: BitOrder) throws -> [UInt8] {
    try withPool { pool in
      let indptr = RaggedIndptr(indptr)
      let packed = pool.bytes(
        [UInt8](repeating: 7, count: PackBitsArguments.byteIndptr(indptr).end))
      return try Reference.packBits(
        PackBitsArguments(
          flags: pool.bytes(flags), packed: packed, indptr: indptr, bitOrder: order))
    }
  }

  @Test func `the first flag is the lowest bit in little and the highest in big order`() throws {
    let flags: [UInt8] = [1, 0, 0, 0, 1, 1, 0, 0, 0, 255]
    #expect(try pack(flags, [0, 10], .little) == [0b0011_0001, 0b0000_0010])
    #expect(try pack(flags, [0, 10], .big) == [0b1000_1100, 0b0100_0000])
  }

  @Test func `each segment starts a byte and flags before the first are skipped`() throws {
    let flags: [UInt8] = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    #expect(try pack(flags, [2, 4, 4, 12], .little) == [0b01, 0b1111_1111])
    #expect(try pack(flags, [0, 3, 12], .big) == [0b1110_0000, 0b0111_1111, 0b1000_0000])
  }

  @Test func `no flags give no bytes`() throws {
    #expect(try pack([], [0], .little).isEmpty)
    #expect(try pack([1], [1, 1], .big).isEmpty)
  }

  @Test func `packed bits are what a custom mask reads`() throws {
    withEvery("order", in: BitOrder.allCases) { order in
      var generator = SplitMix64(seed: 51)
      let flags = (0..<35).map { _ in UInt8.random(in: 0...1, using: &generator) }
      let mask = try CustomMask(
        packing: flags.map { $0 != 0 }, elementCounts: [15, 20], bitOrder: order)
      expectEqual(try pack(flags, [0, 15, 35], order), mask.bytes)
    }
  }

  @Test func `offsets past the flags are refused`() {
    let error = #expect(throws: ArgumentError.self) { try pack([1, 0], [0, 3], .little) }
    #expect(error?.operation == "Reference.packBits")
  }
}
