import ApusIR
import Testing

@Suite struct SwizzleTests {
  @Test(arguments: Swizzle.allCases)
  func `a swizzle permutes the chunks of its atom`(swizzle: Swizzle) {
    let addresses = stride(from: 0, to: swizzle.atomBytes, by: 16).map(swizzle.apply)
    #expect(addresses.sorted() == Array(stride(from: 0, to: swizzle.atomBytes, by: 16)))
    #expect(swizzle.apply(swizzle.atomBytes + 5) == swizzle.atomBytes + swizzle.apply(5))
  }

  @Test func `eight rows of a 128-byte column lie in eight different chunks`() {
    for chunk in 0..<8 {
      let chunks = Set((0..<8).map { Swizzle.bytes128.apply($0 * 128 + chunk * 16) / 16 % 8 })
      #expect(chunks.count == 8)
    }
  }
}

@Suite struct MatrixDescriptorTests {
  @Test func `fields land where the manual puts them`() {
    let kMajor = MatrixDescriptor(
      start: 0x8000, leadingOffset: 16, strideOffset: 1024, swizzle: .bytes128)
    #expect(kMajor.bits == 1 << 62 | 64 << 32 | 1 << 16 | 0x800)
    #expect(MatrixDescriptor(bits: kMajor.bits) == kMajor)
  }

  @Test(arguments: Swizzle.allCases)
  func `bits round-trip`(swizzle: Swizzle) {
    let descriptor = MatrixDescriptor(
      start: 0x3FFF0, leadingOffset: 8192, strideOffset: 256, swizzle: swizzle)
    #expect(MatrixDescriptor(bits: descriptor.bits) == descriptor)
  }

  /// A block rank in the top byte of a shared address must not reach the leading offset.
  @Test func `address bits above the window are dropped`() {
    let remote = MatrixDescriptor(
      start: 0x0100_8000, leadingOffset: 0, strideOffset: 1024, swizzle: .bytes128)
    #expect(MatrixDescriptor(bits: remote.bits).leadingOffset == 0)
    #expect(MatrixDescriptor(bits: remote.bits).start == 0x8000)
  }
}
