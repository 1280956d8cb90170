import ApusIR
import ApusKernels
import Testing

@Suite struct OccupancyTests {
  /// Rows of the CUDA occupancy calculator: threads, registers, shared bytes → blocks and limit.
  @Test(arguments: [
    (Target.sm80, 128, 32, 0, 16, Occupancy.Limit.threads),
    (.sm80, 32, 16, 0, 32, .blocks),
    // 33 registers take 1280 a warp: 51 warps, rounded down to 48.
    (.sm80, 128, 33, 0, 12, .registers),
    (.sm90a, 384, 168, 200 << 10, 1, .registers),
    (.sm90a, 128, 24, 100 << 10, 2, .sharedMemory),
    (.sm90a, 128, 24, 227 << 10, 1, .sharedMemory),
    (.sm90a, 128, 24, 228 << 10, 0, .sharedMemory),
    (.sm86, 1024, 40, 0, 1, .threads),
    (.sm86, 32, 16, 0, 16, .blocks),
    (.sm89, 32, 16, 0, 24, .blocks),
    // 49 KiB and 1 KiB of the system: two blocks fill 100 KiB exactly.
    (.sm89, 64, 16, 49 << 10, 2, .sharedMemory),
    (.sm89, 64, 16, (49 << 10) + 1, 1, .sharedMemory),
    (.sm80, 1024, 255, 0, 0, .registers),
  ])
  func `the tightest of four limits decides`(
    target: Target, threads: Int, registers: Int, shared: Int, blocks: Int, limit: Occupancy.Limit
  ) {
    let occupancy = Occupancy(
      target: target, threads: threads, registers: registers, sharedBytes: shared)
    #expect(occupancy.blocks == blocks)
    #expect(occupancy.limit == limit)
    #expect(occupancy.warps == blocks * ((threads + 31) / 32))
    #expect(occupancy.fraction == Double(occupancy.warps) / Double(occupancy.maxWarps))
  }

  @Test func `more registers, threads or bytes never give more blocks`() {
    for target in Target.allCases {
      for threads in stride(from: 32, through: 1024, by: 96) {
        var last = Int.max
        for registers in 16...255 {
          let blocks = Occupancy(
            target: target, threads: threads, registers: registers, sharedBytes: 0
          ).blocks
          #expect(blocks <= last, "\(target), \(threads) threads, \(registers) registers")
          last = blocks
        }
      }
    }
  }

  @Test func `limits have names for people`() {
    #expect(
      Occupancy.Limit.allCases.map(\.description) == [
        "blocks", "threads", "registers", "shared memory",
      ])
  }
}
