import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusReference
import ApusTestSupport
import Testing

@MainActor @Suite struct PackBitsKernelTests {
  private func check(_ lengths: [Int], lead: Int, _ order: BitOrder, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let indptr = RaggedIndptr(lengths: lengths)
    let flags = TestTensor(.u8, [indptr.end], lead: lead, random: &random)
    flags.fillIntegers { _ in [0, 0, 1, 128, 255].randomElement(using: &random) ?? 0 }
    let packed = TestTensor(
      .u8, [PackBitsArguments.byteIndptr(indptr).end], lead: lead, random: &random)
    let before = Array(packed.storage)
    var device = TestDevice()
    device.bind("flags", flags)
    device.bind("packed", packed, isWritable: true)
    func arguments(_ view: (TestTensor) -> TensorView) -> PackBitsArguments {
      PackBitsArguments(
        flags: view(flags), packed: view(packed), indptr: indptr, bitOrder: order)
    }
    let expected = try Reference.packBits(arguments(\.host))
    try simulate(PackBitsKernel.launches(for: arguments(\.device), target: .sm90a), on: &device)
    device.readBack()
    var wanted = before
    wanted.replaceSubrange(lead..<lead + expected.count, with: expected)
    #expect(Array(packed.storage) == wanted, "\(lengths), lead \(lead), \(order), seed \(seed)")
  }

  /// A few segments, for tests of mutants.
  static func runSome() throws {
    try PackBitsKernelTests().check([0, 3, 16, 5], lead: 1, .little, seed: 3)
  }

  @Test(arguments: BitOrder.allCases)
  func `segments of every length are packed as the definition says`(_ order: BitOrder) throws {
    for (index, lengths) in [
      [], [0], [1], [7], [8], [9], [0, 3, 0, 0, 16, 5, 0], [100, 1, 31, 32, 33], [3000],
    ].enumerated() {
      for lead in [0, 1, 8] { try check(lengths, lead: lead, order, seed: UInt64(index)) }
    }
  }
}
