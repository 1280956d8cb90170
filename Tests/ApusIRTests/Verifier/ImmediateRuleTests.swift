import ApusIR
import Testing

@Suite struct ImmediateRuleTests {
  /// What the verifier says of one op, with operands that type-check.
  private func found(_ op: Op, _ operands: [Operand] = [], results: [ValueType] = []) -> [String] {
    let kernel = makeKernel { $0.emit(op, operands, results: results, at: line(1)) }
    return Verifier.verify(kernel, target: .sm90a).filter { $0.rule == .immediates }
      .map { "\($0.requirement); found \($0.found)" }
  }

  private let global = Operand.constant(.u64(0))

  @Test func `memory accesses`() {
    #expect(
      found(
        .memory(.ld(Op.MemoryAccess(.shared, .b32, offset: 1 << 31))), [.u32(0)], results: [.u32])
        == ["ld.shared.b32: an offset must fit 32 bits; found 2147483648"])
    #expect(
      found(
        .memory(.ld(Op.MemoryAccess(.shared, .b64))), [.u32(0)],
        results: [.u64, .u64, .u64, .u64])
        == ["ld.shared.b64: an access must be at most 16 bytes; found 32"])
    #expect(
      found(
        .memory(.ld(Op.MemoryAccess(.shared, .b32, l1: .noAllocate))), [.u32(0)], results: [.u32])
        == ["ld.shared.b32: cache hints need global memory; found shared"])
    #expect(
      found(
        .memory(.ld(Op.MemoryAccess(.global, .b32, ordering: .release(.gpu)))), [global],
        results: [.u32])
        == ["ld.release.gpu.global.b32: a load must not release; found release(gpu)"])
    #expect(
      found(
        .memory(.st(Op.MemoryAccess(.global, .b32, ordering: .acquire(.gpu)))), [global, .u32(0)])
        == ["st.acquire.gpu.global.b32: a store must not acquire; found acquire(gpu)"])
    #expect(
      found(.memory(.red(Op.AtomicAccess(.exchange, .global))), [global, .u32(0)])
        == ["red.relaxed.gpu.global.exch: must be a combination; found exch"])
  }

  @Test func `lanes`() {
    #expect(
      found(.warp(.shfl(.bfly, width: 12, members: 0)), [.u32(0), .u32(1)], results: [.u32])
        == [
          "shfl.bfly.w12: members must not be empty; found 0x0",
          "shfl.bfly.w12: the width must be 2, 4, 8, 16 or 32; found 12",
        ])
  }

  @Test func `named barriers`() {
    let kernel = makeKernel { builder in
      _ = builder.addBarrier(name: "a", firstID: 14, count: 3, threads: 64)
      _ = builder.addBarrier(name: "b", firstID: 2, count: 2, threads: 128)
      let c = builder.addBarrier(name: "c", firstID: 3, count: 2, threads: 48)
      builder.perform(.synchronisation(.barrierSync(c)), at: 5)
      builder.perform(.synchronisation(.barrierSync(c)), [.u32(2)], at: 6)
    }
    #expect(
      findings(kernel) == [
        "K.swift:5: kernel k [immediates]: barrier a must use numbers 0…15; found 14…16.",
        "K.swift:5: kernel k [immediates]: barriers must have distinct numbers; found c with 3…4.",
        "K.swift:5: kernel k [immediates]: threads of barrier c must be a multiple of 32 in "
          + "32…128; found 48.",
        "K.swift:5: kernel k [immediates]: bar.sync: must have an index for 2 barriers; "
          + "found none.",
        "K.swift:6: kernel k [immediates]: bar.sync: the index must be below 2; found 2.",
      ])
  }

  @Test func `mbarriers`() {
    #expect(
      found(.synchronisation(.mbarrierInit(offset: 0)), [.u32(0), .u32(0)])
        == ["mbarrier.init: the count must be in 1…1048575; found 0"])
    #expect(
      found(.synchronisation(.mbarrierWait(Op.MBarrierWait(scope: .gpu))), [.u32(0), .u32(2)])
        == [
          "mbarrier.wait.gpu: the parity must be 0 or 1; found 2",
          "mbarrier.wait.gpu: scope must be cta or cluster; found gpu",
        ])
    #expect(
      found(
        .synchronisation(.mbarrierArriveExpect(Op.MBarrierArrive(count: 2, ordering: .acquire))),
        [.u32(0), .u32(16)])
        == [
          "mbarrier.arrive.expect_tx.acquire.cta: the count must be 1; found 2",
          "mbarrier.arrive.expect_tx.acquire.cta: must be release or relaxed; found acquire",
        ])
  }

  @Test func `copies`() {
    #expect(
      found(.copy(.async(Op.AsyncCopy(byteCount: 12))), [.u32(0), global])
        == ["cp.async.ca.12: must copy 4, 8 or 16 bytes; found 12"])
    #expect(
      found(.copy(.async(Op.AsyncCopy(byteCount: 8, bypassesL1: true))), [.u32(0), global])
        == ["cp.async.cg.8: must copy 16 bytes to bypass L1; found 8"])
    #expect(
      found(.copy(.tensorPrefetch(dimensions: 6)), [global] + Array(repeating: .u32(0), count: 6))
        == ["cp.async.bulk.prefetch.tensor.6d: must have 1…5 dimensions; found 6"])
    #expect(
      found(.copy(.bulkStore(Op.BulkAccess(isMulticast: true))), [global, .u32(0), .u32(16)])
        == ["cp.async.bulk.store: only a load is multicast; found a mask"])
  }

  @Test func `products`() {
    func shape(_ shape: Op.WGMMAShape) -> [String] {
      let kernel = makeKernel { builder in
        let d = (0..<shape.accumulatorCount).map { _ in
          builder.variable(shape.accumulator.valueType, at: line(1))
        }
        builder.accumulate(
          .wgmma(shape), into: d,
          (shape.aInRegisters ? Array(repeating: .u32(0), count: 4) : [global])
            + [global, .pred(false)], at: line(1))
      }
      return Verifier.verify(kernel, target: .sm90a).map { "\($0.requirement); found \($0.found)" }
    }
    #expect(
      shape(Op.WGMMAShape(n: 264, .bf16)) == [
        "wgmma.m64n264k16.f32.bf16.bf16.ss: n must be a multiple of 8 in 8…256; found 264"
      ])
    #expect(
      shape(Op.WGMMAShape(n: 8, .e4m3, transposesB: true)) == [
        "wgmma.m64n8k32.f32.e4m3.e4m3.ss.tb: operands must be K-major unless they have 16 bits; "
          + "found e4m3 transposed"
      ])
    #expect(
      shape(Op.WGMMAShape(n: 8, .f16, .bf16, accumulator: .f16)) == [
        "wgmma.m64n8k16.f16.f16.bf16.ss: A and B must share a type or both be FP8; "
          + "found f16, bf16"
      ])
    #expect(
      shape(Op.WGMMAShape(n: 8, .bf16, accumulator: .f16, aInRegisters: true, transposesA: true))
        == [
          "wgmma.m64n8k16.f16.bf16.bf16.rs.ta: bf16 and tf32 must accumulate in f32; found f16",
          "wgmma.m64n8k16.f16.bf16.bf16.rs.ta: A in registers must be K-major; "
            + "found a transposition",
        ])
    #expect(
      found(.tensorCore(.wgmmaWait(pending: 8)))
        == ["wgmma.wait_group: pending must be in 0…7; found 8"])
    #expect(
      found(.control(.setMaxRegisters(.decrease, count: 20)))
        == ["a multiple of 8 in 24…256; found 20"].map { "setmaxnreg.dec: \($0)" })
  }
}
