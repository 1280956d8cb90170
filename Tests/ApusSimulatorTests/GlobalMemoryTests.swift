import ApusIR
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct GlobalMemoryTests {
  /// y[i] = x[i] + 1 for 32 words.
  private let increment = makeKernel { b in
    let (x, y) = (b.pointer("x"), b.pointer("y"))
    let lane = b.lane()
    let old = b.load(.global, b.element(x, lane, stride: 4), at: 3)
    b.store(
      .global, b.element(y, lane, stride: 4), b.get(.arithmetic(.add), [old, .u32(1)]), at: 4)
  }

  /// Words of host memory, 16-byte aligned, that live as long as the body.
  private func withHost(_ words: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * words, alignment: 16)
    defer { bytes.deallocate() }
    for (index, byte) in bytes.indices.enumerated() {
      bytes[byte] = index % 4 == 0 ? UInt8(truncatingIfNeeded: index / 4) : 0
    }
    body(bytes)
  }

  private func slice(
    _ bytes: UnsafeMutableRawBufferPointer, _ words: Range<Int>
  ) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[4 * words.lowerBound..<4 * words.upperBound])
  }

  private func words(_ bytes: UnsafeMutableRawBufferPointer) -> [UInt32] {
    Array(bytes.bindMemory(to: UInt32.self))
  }

  private func run(_ memory: inout GlobalMemory, _ x: UInt64, _ y: UInt64) -> SimulationReport {
    Simulator(increment).run(
      grid: GridSize(1), arguments: [.pointer(x), .pointer(y)], memory: &memory)
  }

  @Test func `mapped memory is read and written in place`() {
    withHost(64) { host in
      var memory = GlobalMemory()
      let x = memory.map("x", slice(host, 0..<32), isWritable: false)
      let y = memory.map("y", slice(host, 32..<64), isWritable: true, isWritten: false)
      #expect(x == UInt64(UInt(bitPattern: host.baseAddress)) && y == x + 128)
      #expect(run(&memory, x, y).errors == [])
      let expected = [UInt32](0..<32) + [UInt32](1...32)
      #expect(words(host) == expected)
      // What the first launch wrote, a second one may read.
      #expect(run(&memory, y, y).errors == [])
      #expect(words(slice(host, 32..<64)) == [UInt32](2...33))
    }
  }

  @Test func `mapped and bound memory meet in one launch`() {
    withHost(32) { host in
      var memory = GlobalMemory()
      let x = memory.bind("x", elements: (0..<32).map { UInt32($0 * 2) })
      let y = memory.map("y", host, isWritable: true)
      #expect(run(&memory, x, y).errors == [])
      let expected = (0..<32).map { UInt32($0 * 2 + 1) }
      #expect(words(host) == expected)
    }
  }

  @Test func `overlapping ranges share their bytes`() {
    withHost(64) { host in
      var memory = GlobalMemory()
      memory.map("all", host, isWritable: false)
      let x = memory.map("x", slice(host, 0..<32), isWritable: true, isWritten: false)
      let y = memory.map("y", slice(host, 16..<48), isWritable: true, isWritten: false)
      #expect(run(&memory, x, y).errors == [])
      let expected = [UInt32](0..<16) + [UInt32](1...32) + [UInt32](48..<64)
      #expect(words(host) == expected)
    }
  }

  @Test func `an access outside every range, across two of them, or to unwritten bytes`() {
    withHost(64) { host in
      var memory = GlobalMemory()
      let x = memory.map("x", slice(host, 0..<31), isWritable: false)
      let y = memory.map("y", slice(host, 32..<64), isWritable: true, isWritten: false)
      let outside = run(&memory, x, y).errors.first
      #expect(outside?.kind == .outOfBounds(.global, address: x + 124, byteCount: 4))
      #expect(outside?.lanes == 0x8000_0000)
      memory = GlobalMemory()
      memory.map("low", UnsafeMutableRawBufferPointer(rebasing: host[..<126]), isWritable: false)
      memory.map("high", UnsafeMutableRawBufferPointer(rebasing: host[126...]), isWritable: true)
      let across = run(&memory, x, y).errors.first
      #expect(across?.kind == .outOfBounds(.global, address: x + 124, byteCount: 4))
      memory = GlobalMemory()
      memory.map("x", host, isWritable: true, isWritten: false)
      #expect(
        run(&memory, x, y).errors.first?.kind == .uninitialisedRead(.global, address: x))
    }
  }

  @Test func `a mapped range without write access keeps its bytes`() {
    withHost(64) { host in
      var memory = GlobalMemory()
      let x = memory.map("x", slice(host, 0..<32), isWritable: true)
      let y = memory.map("y", slice(host, 32..<64), isWritable: false)
      #expect(run(&memory, x, y).errors.first?.kind == .readOnly(address: y, buffer: "y"))
      #expect(words(host) == [UInt32](0..<64))
    }
  }

  @Test func `an empty range maps nothing`() {
    var memory = GlobalMemory()
    let empty = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    #expect(memory.map("none", empty, isWritable: true) == 0)
  }
}
