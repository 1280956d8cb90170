import ApusNumerics
import ApusTestSupport
import Testing

struct ElementTypeAccessTests {
  /// Values of every class in every type.
  static let values: [Float] = [
    0, -0.0, 1, -1.5, 0.1, 1e-3, -3e-5, 2e-8, 0x1p-140, 447, 464, 465, 57344, -61440, 65504, 65520,
    1e30, .greatestFiniteMagnitude, .infinity, -.infinity, .nan, -.nan,
  ]

  /// The code of a value by way of the scalar types, which have their own tests.
  static func code(_ value: Double, _ type: ElementType, _ rule: OverflowRule) -> UInt32 {
    switch type {
    case .f32:
      // Nothing is narrowed: infinities stay under either rule.
      return Float(value).bitPattern
    case .f16: return UInt32(Half(value, overflow: rule).bitPattern)
    case .bf16: return UInt32(BFloat16(value, overflow: rule).bitPattern)
    case .e4m3: return UInt32(Float8E4M3(value, overflow: rule).bitPattern)
    case .e5m2: return UInt32(Float8E5M2(value, overflow: rule).bitPattern)
    }
  }

  @Test func `stores at odd addresses touch only their element and load back`() {
    withEvery("type", in: ElementType.allCases) { type in
      withEvery("overflow", in: OverflowRule.allCases) { rule in
        withEvery("index", in: [0, 1, 2]) { index in
          withEvery("value", in: Self.values) { value in
            let expected = Self.code(Double(value), type, rule)
            let fromFloat = Self.bytes(type, index) { base in
              type.store(value, to: base, at: index, overflow: rule)
              expectSame(type.load(base, at: index), type.format.decode(expected))
            }
            let fromDouble = Self.bytes(type, index) { base in
              type.store(Double(value), to: base, at: index, overflow: rule)
              expectSame(type.load(base, at: index), type.format.decode(expected))
            }
            expectEqual(fromFloat, expected, "Float")
            expectEqual(fromDouble, expected, "Double")
          }
        }
      }
    }
  }

  @Test func `an f32 element keeps the bits of a Float NaN`() {
    let value = Float(bitPattern: 0xFFC1_2345)
    withEvery("overflow", in: OverflowRule.allCases) { rule in
      let bits = Self.bytes(.f32, 0) { base in
        ElementType.f32.store(value, to: base, at: 0, overflow: rule)
      }
      expectEqual(bits, 0xFFC1_2345)
    }
  }

  @Test func `a stored Double is rounded once`() {
    // 1 + 2^-8 is the tie between 1 and the next bf16; what lies above it is lost in Float.
    let value: Double = 1 + 0x1p-8 + 0x1p-40
    let bits = Self.bytes(.bf16, 0) { ElementType.bf16.store(value, to: $0, at: 0) }
    expectEqual(bits, 0x3F81)
  }

  @Test func `saturation is the default`() {
    let bits = Self.bytes(.f16, 0) { ElementType.f16.store(Float(1e9), to: $0, at: 0) }
    expectEqual(bits, 0x7BFF)
  }

  /// Runs `body` on a misaligned array of three elements and returns the code of element `index`;
  /// fails if any other byte changed.
  private static func bytes(
    _ type: ElementType, _ index: Int, _ body: (UnsafeMutableRawPointer) -> Void
  ) -> UInt32 {
    let guardByte: UInt8 = 0xA5
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
    defer { buffer.deallocate() }
    for offset in buffer.indices { buffer[offset] = guardByte }
    guard let base = buffer.baseAddress else { return 0 }
    body(base + 1)
    let element = (1 + index * type.byteCount)..<(1 + (index + 1) * type.byteCount)
    var code: UInt32 = 0
    for offset in buffer.indices {
      if element.contains(offset) {
        code |= UInt32(buffer[offset]) << UInt32(8 * (offset - element.lowerBound))
      } else {
        expectEqual(buffer[offset], guardByte, "byte \(offset)")
      }
    }
    return code
  }

  private func expectSame(_ found: Float, _ expected: Float) {
    expect(
      found.isNaN ? expected.isNaN && found.sign == expected.sign : found == expected,
      "found \(found), expected \(expected)")
  }
}
