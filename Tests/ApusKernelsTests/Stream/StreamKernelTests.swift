import ApusDSL
import ApusIR
import ApusKernels
import ApusSimulator
import ApusTestSupport
import Testing

@MainActor @Suite struct StreamKernelTests {
  private func run(_ kernel: StreamKernel, words: Int, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let arrays = (0..<kernel.reads).map { _ in
      (0..<words).map { _ in UInt32.random(in: 0...UInt32.max, using: &random) }
    }
    var device = TestDevice()
    let inputs = arrays.enumerated().map { device.memory.bind("input\($0)", elements: $1) }
    let output =
      kernel.writes
      ? device.memory.bindOutput("output", byteCount: 4 * words)
      : device.memory.bind("total", elements: [UInt32(0)], isWritable: true)
    let launch = kernel.launch(
      inputs: inputs, output: output, byteCount: 4 * words, multiprocessorCount: 2)
    try simulate(LaunchPlan(launches: [launch]), on: &device)
    let sums = (0..<words).map { word in arrays.reduce(UInt32(0)) { $0 &+ $1[word] } }
    let found: [UInt32] = device.memory.elements(at: output, as: UInt32.self)
    #expect(found == (kernel.writes ? sums : [sums.reduce(0, &+)]), "seed \(seed)")
  }

  @Test(arguments: [4, 1020, 8192, 8196, 70_000])
  func `every word is read once and every word is written`(_ words: Int) throws {
    for reads in [1, 2, 4] {
      for writes in [false, true] {
        try run(StreamKernel(reads: reads, writes: writes), words: words, seed: UInt64(words))
      }
    }
  }

  @Test func `an empty array launches no block`() throws {
    let launch = StreamKernel(reads: 1, writes: true).launch(
      inputs: [16], output: 32, byteCount: 0, multiprocessorCount: 1)
    #expect(launch.grid.blockCount == 0)
  }
}
