import ApusNumerics
import ApusTestSupport
import Testing

struct ConversionsTests {
  /// Around the vector widths an optimiser may choose.
  private static let counts = [0, 1, 3, 4, 5, 15, 16, 17, 31, 32, 33, 1000]

  @Test func `bulk widening equals loading each element`() throws {
    withEvery("type", in: ElementType.allCases) { type in
      withEvery("count", in: Self.counts) { count in
        var generator = SplitMix64(seed: 0xB01C)
        try withBuffers(type, count) { bytes, floats in
          for offset in bytes.indices {
            bytes[offset] = UInt8(truncatingIfNeeded: generator.next())
          }
          try type.widen(UnsafeRawBufferPointer(bytes), into: floats)
          for index in 0..<count {
            guard let base = bytes.baseAddress else { return }
            let expected = type.load(base, at: index)
            expectEqual(floats[index].bitPattern, expected.bitPattern, "element \(index)")
          }
        }
      }
    }
  }

  @Test func `bulk widening covers every 8- and 16-bit code`() throws {
    withEvery("type", in: ElementType.allCases.filter { $0 != .f32 }) { type in
      let count = 1 << (8 * type.byteCount)
      try withBuffers(type, count) { bytes, floats in
        for code in 0..<count {
          for byte in 0..<type.byteCount {
            bytes[code * type.byteCount + byte] = UInt8(truncatingIfNeeded: code >> (8 * byte))
          }
        }
        try type.widen(UnsafeRawBufferPointer(bytes), into: floats)
        var mismatches = Mismatches()
        for code in 0..<count {
          let expected = type.format.decode(UInt32(code))
          mismatches.check(
            floats[code].bitPattern == expected.bitPattern,
            "code \(hex(code)): found \(floats[code]), expected \(expected)")
        }
        mismatches.expectNone()
      }
    }
  }

  @Test func `bulk narrowing equals storing each element`() throws {
    withEvery("type", in: ElementType.allCases) { type in
      withEvery("overflow", in: OverflowRule.allCases) { rule in
        withEvery("count", in: Self.counts) { count in
          var generator = SplitMix64(seed: 0xDA77)
          try withBuffers(type, count) { bytes, floats in
            let special = ElementTypeAccessTests.values
            for index in 0..<count {
              let bits = UInt32(truncatingIfNeeded: generator.next())
              floats[index] =
                index % 2 == 0 ? Float(bitPattern: bits) : special[index % special.count]
            }
            try type.narrow(UnsafeBufferPointer(floats), into: bytes, overflow: rule)
            try withBuffers(type, count) { expected, _ in
              for index in 0..<count {
                guard let base = expected.baseAddress else { return }
                type.store(floats[index], to: base, at: index, overflow: rule)
              }
              expectEqual(Array(bytes), Array(expected))
            }
          }
        }
      }
    }
  }

  @Test func `buffers of other sizes are refused and nothing is written`() throws {
    withEvery("type", in: ElementType.allCases) { type in
      let right = 4 * type.byteCount
      withEvery("byte count", in: [0, 1, right - 1, right + 1, 2 * right]) { byteCount in
        let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 1)
        defer { storage.deallocate() }
        for offset in storage.indices { storage[offset] = 0xA5 }
        var floats: [Float] = [7, 7, 7, 7]
        let found = floats.withUnsafeMutableBufferPointer { floats in
          (
            error { () throws(ConversionError) in
              try type.widen(UnsafeRawBufferPointer(storage), into: floats)
            },
            error { () throws(ConversionError) in
              try type.narrow(UnsafeBufferPointer(floats), into: storage)
            }
          )
        }
        expectEqual(
          found.0, .widenSizeMismatch(type: type, sourceByteCount: byteCount, destinationCount: 4))
        expectEqual(
          found.1, .narrowSizeMismatch(type: type, sourceCount: 4, destinationByteCount: byteCount))
        expectEqual(floats, [7, 7, 7, 7])
        expect(storage.allSatisfy { $0 == 0xA5 }, "destination bytes were written")
      }
    }
  }

  @Test func `empty buffers without an address are fine`() throws {
    for type in ElementType.allCases {
      try type.widen(
        UnsafeRawBufferPointer(start: nil, count: 0),
        into: UnsafeMutableBufferPointer(start: nil, count: 0))
      try type.narrow(
        UnsafeBufferPointer(start: nil, count: 0),
        into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
  }

  /// Storage for `count` elements at an odd address, and as many Floats.
  private func withBuffers(
    _ type: ElementType, _ count: Int,
    _ body: (UnsafeMutableRawBufferPointer, UnsafeMutableBufferPointer<Float>) throws -> Void
  ) throws {
    let storage = UnsafeMutableRawBufferPointer.allocate(
      byteCount: count * type.byteCount + 1, alignment: 16)
    defer { storage.deallocate() }
    let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: count)
    defer { floats.deallocate() }
    floats.initialize(repeating: 0)
    for offset in storage.indices { storage[offset] = 0 }
    try body(UnsafeMutableRawBufferPointer(rebasing: storage.dropFirst()), floats)
  }

  private func error(_ body: () throws(ConversionError) -> Void) -> ConversionError? {
    do throws(ConversionError) {
      try body()
      return nil
    } catch {
      return error
    }
  }
}
