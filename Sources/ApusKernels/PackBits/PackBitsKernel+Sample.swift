internal import ApusCore
internal import ApusIR

extension PackBitsKernel: SampledKernel {
  /// Segments of all remainders of eight, an empty one, and one that begins where eight flags are one
  /// load; flags that are not 0 have any of their bits.
  public func sample(seed: UInt64) -> KernelSample {
    let indptr = RaggedIndptr(lengths: Array(1...9) + [0, 3, 64, 2])
    let bytes = PackBitsArguments.byteIndptr(indptr).end
    var numbers = SampleNumbers(seed: seed)
    let flags = (0..<indptr.end).map { _ -> UInt8 in
      let bits = numbers.bits()
      return bits & 1 == 0 ? 0 : 1 << UInt8(bits >> 1 & 7)
    }
    let plan = { @Sendable (flagAddress: UInt64, packedAddress: UInt64) in
      Self.launches(
        for: PackBitsArguments(
          flags: .sample(flagAddress, .u8, [indptr.end]),
          packed: .sample(packedAddress, .u8, [bytes]), indptr: indptr, bitOrder: bitOrder),
        target: .sm80)
    }
    return KernelSample(
      summary: "\(indptr.end) flags in \(indptr.batch) segments",
      buffers: [
        .input("flags", flags), .output("packed", byteCount: bytes),
        .input("metadata", plan(0, 0).metadata),
      ],
      launches: { plan($0[0], $0[1]).launches.bound(metadata: $0[2]) },
      check: { contents in
        var packed: [UInt8] = []
        for segment in 0..<indptr.batch {
          var byte: UInt8 = 0
          for (index, flag) in flags[indptr.rows(segment)].enumerated() {
            let place = UInt8(index % 8)
            if flag != 0 { byte |= 1 << (bitOrder == .little ? place : 7 - place) }
            if place == 7 || index + 1 == indptr.length(segment) {
              packed.append(byte)
              byte = 0
            }
          }
        }
        var findings = SampleFindings()
        for (place, (expected, found)) in zip(packed, contents[1]).enumerated() {
          findings.require(
            expected == found, "byte \(place) must be \(expected); found \(found)")
        }
        return findings.lines
      })
  }
}
