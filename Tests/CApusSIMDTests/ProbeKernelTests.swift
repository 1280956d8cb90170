import ApusTestSupport
import CApusSIMD
import Testing

struct ProbeKernelTests {
  @Test(arguments: KernelTable.all)
  func `read_probe reads every byte once`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var generator = seeded(401)
    let lengths = Array(0...20) + [63, 64, 65, 1023, 1024, 1025, 4096, 20011, 100_003]
    withEvery("bytes", in: lengths) { length in
      let block = Block(byteCount: length)
      var expected: UInt64 = 0
      for index in 0..<length {
        let byte = UInt8.random(in: 0...(.max), using: &generator)
        block.start.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        expected ^= UInt64(byte) << UInt64(8 * (index % 8))
      }
      expectEqual(kernels.read_probe(block.start, length), UInt64(littleEndian: expected))
    }
  }

  @Test(arguments: KernelTable.all)
  func `fma_probe counts what it runs`(_ table: KernelTable) {
    guard let kernels = table.kernels else { return }
    var sink: Float = 0.5
    #expect(kernels.fma_probe(0, &sink) == 0)
    let started = sink
    let once = kernels.fma_probe(1, &sink)
    // Two operations per lane and chain, and at least ten chains to cover the latency.
    #expect(once >= 2 * 4 * 10)
    #expect(kernels.fma_probe(1000, &sink) == 1000 * once)
    #expect(sink.isFinite && sink != started)
  }
}
