import ApusIR
import Testing

@Suite struct TargetRuleTests {
  @Test func `an instruction the target lacks`() {
    let kernel = makeKernel { builder in
      builder.emit(.warp(.elect(members: Op.allLanes)), results: [.pred], at: line(3))
      builder.emit(
        .conversion(.widenFP8(.e5m2)), [.constant(.u16(0))], results: [.f16x2], at: line(4))
    }
    #expect(findings(kernel, target: .sm90a) == [])
    #expect(
      findings(kernel, target: .sm86) == [
        "K.swift:3: kernel k [target]: sm_86 must have every instruction; "
          + "found elect, which needs sm_90a.",
        "K.swift:4: kernel k [target]: sm_86 must have every instruction; "
          + "found cvt.from.e5m2x2, which needs sm_89.",
      ])
  }

  @Test func `clusters before Hopper`() {
    let kernel = makeKernel(cluster: 2) { $0.use(.u32(1)) }
    #expect(
      findings(kernel, target: .sm80) == [
        "K.swift:99: kernel k [target]: clusterSize must be 1 on sm_80; found 2. "
          + "Clusters need sm_90a."
      ])
  }
}

@Suite struct SharedMemoryRuleTests {
  private func kernel(_ bytes: Int, minBlocks: Int = 1) -> KernelIR {
    makeKernel(minBlocks: minBlocks) { builder in
      _ = builder.addShared(name: "tile", byteCount: bytes, alignment: 16)
      builder.use(.u32(1))
    }
  }

  @Test(arguments: Target.allCases) func `the limit itself fits`(target: Target) {
    #expect(findings(kernel(target.maxSharedBytesPerBlock), target: target) == [])
    #expect(findings(kernel(target.maxSharedBytesPerBlock + 16), target: target).count == 1)
  }

  @Test func `a block too large for the target`() {
    #expect(
      findings(kernel(120 << 10), target: .sm89) == [
        "K.swift:99: kernel k [sharedMemory]: shared memory of a block on sm_89 must be ≤ 101376; "
          + "found 122880 bytes. Use fewer stages or smaller tiles."
      ])
  }

  @Test func `too many blocks for one multiprocessor`() {
    #expect(
      findings(kernel(120 << 10, minBlocks: 2), target: .sm90a) == [
        "K.swift:99: kernel k [sharedMemory]: 2 blocks must fit 233472 bytes of a sm_90a "
          + "multiprocessor; found 2 × (122880 + 1024) bytes. "
          + "Lower minBlocksPerMultiprocessor or the shared memory."
      ])
  }
}
