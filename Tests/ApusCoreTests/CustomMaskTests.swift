import ApusCore
import ApusTestSupport
import Testing

@Suite struct CustomMaskTests {
  @Test func `packing starts each request on a byte`() throws {
    let flags = [true, false, true] + [Bool](repeating: true, count: 9) + [false, true]
    let little = try CustomMask(packing: flags, elementCounts: [3, 9, 0, 2])
    #expect(little.bytes == [0b101, 0xFF, 1, 0b10])
    #expect(little.byteIndptr.offsets == [0, 1, 3, 3, 4])
    let big = try CustomMask(packing: flags, elementCounts: [3, 9, 0, 2], bitOrder: .big)
    #expect(big.bytes == [0b1010_0000, 0xFF, 0x80, 0b0100_0000])
    #expect(big.byteIndptr == little.byteIndptr)
    #expect("\(big)" == "custom(4 bytes, big)")
  }

  @Test(arguments: BitOrder.allCases)
  func `allows reads back what was packed`(order: BitOrder) throws {
    var random = SplitMix64(seed: 3)
    let lengths = [(3, 5), (0, 4), (1, 17), (4, 0), (2, 8)]
    let counts = lengths.map { $0 * $1 }
    let flags = (0..<counts.reduce(0, +)).map { _ in Bool.random(using: &random) }
    let mask = try CustomMask(packing: flags, elementCounts: counts, bitOrder: order)
    #expect(
      complaints {
        $0.requireCustomMask(mask, qoLengths: lengths.map(\.0), kvLengths: lengths.map(\.1))
      } == [])
    var position = 0
    for (r, (qo, kv)) in lengths.enumerated() {
      for i in 0..<qo {
        for j in 0..<kv {
          #expect(mask.allows(request: r, i, j, kvLength: kv) == flags[position])
          position += 1
        }
      }
    }
    #expect(position == flags.count)
  }

  @Test func `packing refuses counts that do not add up`() {
    func refused(_ flags: [Bool], _ counts: [Int]) -> String {
      refusal { try CustomMask(packing: flags, elementCounts: counts) }
    }
    #expect(
      refused([true], [2])
        == "CustomMask.init: the mask must hold the sum of qoLength · kvLength booleans; "
        + "found 1 for 2.")
    #expect(
      refused([], [3, -1])
        == "CustomMask.init: elementCounts must be at least 0; found -1 at request 1.")
    // Sums that wrap back to the number of flags.
    #expect(
      refused([], [.max, .max, 2])
        == "CustomMask.init: the mask must hold the sum of qoLength · kvLength booleans; "
        + "found 0 for 9223372036854775807.")
    #expect(
      refused([], [-1, 1 << 62])
        == "CustomMask.init: elementCounts must be at least 0; found -1 at request 0.")
    #expect(refused([], [.min, .min]).hasSuffix("found -9223372036854775808 at request 0."))
    #expect(refused([], []) == "accepted")
  }

  @Test func `each rule has its message`() {
    func complaint(
      _ offsets: [Int], bytes: Int = 3, _ qo: [Int] = [3, 1], _ kv: [Int] = [3, 8]
    ) -> [String] {
      let mask = CustomMask(
        bytes: [UInt8](repeating: 0, count: bytes), byteIndptr: RaggedIndptr(offsets))
      return complaints { $0.requireCustomMask(mask, qoLengths: qo, kvLengths: kv) }
    }
    #expect(complaint([0, 2, 3]) == [])
    #expect(complaint([0, 4, 5], bytes: 9) == [])
    #expect(
      complaint([]) == [
        "mask byteIndptr must hold batch + 1 offsets; found none. Pass [0] for an empty batch."
      ])
    #expect(
      complaint([0, 2, 4]) == ["mask byteIndptr must end within the mask bytes; found 4 of 3."])
    #expect(
      complaint([0, 4], bytes: 3) == [
        "mask byteIndptr must end within the mask bytes; found 4 of 3.",
        "mask byteIndptr must hold batch + 1 offsets; found 2 for batch 2.",
      ])
    #expect(
      complaint([0, 1, 3]) == [
        "the mask of request 0 must hold qoLength · kvLength bits; found 1 bytes for 3 × 3 bits."
      ])
    #expect(
      complaint([0, 1], [.max], [.max]) == [
        "the mask of request 0 must hold qoLength · kvLength bits; "
          + "found 1 bytes for 9223372036854775807 × 9223372036854775807 bits."
      ])
  }
}
