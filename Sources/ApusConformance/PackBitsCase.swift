public import ApusCore
internal import ApusReference

/// A packing of booleans into bits.
public struct PackBitsCase: Sendable, Hashable, CustomStringConvertible {
  /// Bit order.
  public var order: BitOrder
  /// Booleans of each segment.
  public var lengths: [Int]
  /// Booleans before the first segment and behind the last.
  public var hasForeign: Bool

  /// One line.
  public var description: String {
    "packbits: \(order), segments \(lengths)\(hasForeign ? ", foreign flags around" : "")"
  }

  /// Draws a case.
  static func generate(_ random: inout CaseRandom, size: CaseSize) -> PackBitsCase {
    let longest = size == .small ? 100 : 5000
    let segments = random.pick([0, 1, 1, 2, 5])
    return PackBitsCase(
      order: random.pick(BitOrder.allCases),
      lengths: (0..<segments).map { _ in
        random.pick([0, 1, 7, 8, 9, 63, 64, 65, longest / 5, random.int(0...longest)])
      }, hasForeign: random.chance(0.4))
  }

  /// Runs the case on a back end; every byte must be the definition's.
  func check(on backend: any Backend, random initial: CaseRandom) -> CaseOutcome {
    var random = initial
    let memory = CaseMemory()
    let skip = hasForeign ? 3 : 0
    let indptr = RaggedIndptr(RaggedIndptr(lengths: lengths).offsets.map { $0 + skip })
    let flags = memory.tensor("flags", .u8, [indptr.end + skip])
    for i in 0..<(flags.shape.first ?? 0) {
      // Any byte that is not 0 is true.
      let byte: UInt8 = random.pick([0, 0, 0, 1, 2, 0x80, 0xFF])
      flags.mutableHostPointer?.storeBytes(of: byte, toByteOffset: i, as: UInt8.self)
    }
    let packed = memory.tensor("packed", .u8, [PackBitsArguments.byteIndptr(indptr).end])
    let arguments = PackBitsArguments(
      flags: flags, packed: packed, indptr: indptr, bitOrder: order)
    return withExtendedLifetime(memory) {
      Interruption.outcome { () throws(Interruption) in
        let expected = try Interruption.reference { () throws(ArgumentError) in
          try Reference.packBits(arguments)
        }
        let before = memory.snapshots(except: ["packed"])
        try Interruption.guarding("packBits") { () throws(ApusError) in
          try backend.packBits(arguments, on: .synchronous)
        }
        var failures = memory.brokenGuards.map { "\($0) was written out of bounds" }
        failures += memory.changed(since: before).map { "\($0) must not be written" }
        let found = memory.buffer("packed").map { [UInt8]($0.bytes) } ?? []
        if let first = found.indices.first(where: { found[$0] != expected[$0] }) {
          failures.append("packed[\(first)]: found \(found[first]), expected \(expected[first])")
        }
        return (failures, 0)
      }
    }
  }
}
