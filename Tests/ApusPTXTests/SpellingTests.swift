import ApusIR
import ApusPTX
import Testing

/// Spellings of each group by hand; `PtxasSweepTests` assembles them all. Operands are declared
/// first, so their registers have the lower numbers.
@Suite struct SpellingTests {
  @Test func `movement is mov and selp`() throws {
    #expect(try spell(.movement(.variable), [], [.f32]) == [])
    #expect(try spell(.movement(.copy), [.bf16], [.bf16]) == ["mov.b16 %h1, %h0;"])
    #expect(
      try spell(.movement(.select), [.pred, .u64, .u64], [.u64])
        == ["selp.b64 %d2, %d0, %d1, %p0;"])
    #expect(try spell(.movement(.bitcast), [.f32], [.u32]) == ["mov.b32 %r0, %f0;"])
    #expect(
      try spell(.movement(.pack), [.u32, .f32], [.u64]) == ["mov.b64 %d0, {%r0, %f0};"])
    #expect(
      try spell(.movement(.unpack), [.f16x2], [.f16, .u16]) == ["mov.b32 {%h0, %h1}, %r0;"])
  }

  @Test func `arithmetic rounds explicitly so that nothing is contracted`() throws {
    #expect(try spell(.arithmetic(.add), [.f32, .f32], [.f32]) == ["add.rn.f32 %f2, %f0, %f1;"])
    #expect(try spell(.arithmetic(.mul), [.s64, .s64], [.s64]) == ["mul.lo.s64 %d2, %d0, %d1;"])
    #expect(
      try spell(.arithmetic(.fmaRounded(.down)), [.f32, .f32, .f32], [.f32])
        == ["fma.rm.f32 %f3, %f0, %f1, %f2;"])
    #expect(
      try spell(.arithmetic(.approximate(.ex2)), [.f32], [.f32]) == ["ex2.approx.ftz.f32 %f1, %f0;"]
    )
    #expect(
      try spell(.arithmetic(.approximate(.ex2)), [.f16x2], [.f16x2])
        == ["ex2.approx.f16x2 %r1, %r0;"])
    #expect(
      try spell(.arithmetic(.packed16(.maxSigned)), [.u32, .u32], [.u32])
        == ["max.s16x2 %r2, %r0, %r1;"])
  }

  @Test func `bits are untyped except for signs`() throws {
    #expect(try spell(.bits(.and), [.pred, .pred], [.pred]) == ["and.pred %p2, %p0, %p1;"])
    #expect(try spell(.bits(.shr), [.s32, .u32], [.s32]) == ["shr.s32 %r2, %r0, %r1;"])
    #expect(
      try spell(.bits(.lop3(table: 0xEA)), [.u32, .u32, .u32], [.u32])
        == ["lop3.b32 %r3, %r0, %r1, %r2, 0xea;"])
    #expect(
      try spell(.bits(.setp(.geu)), [.f32, .f32], [.pred]) == ["setp.geu.f32 %p0, %f0, %f1;"])
  }

  @Test func `pair conversions exchange their operands`() throws {
    #expect(
      try spell(.conversion(.narrowPair), [.f32, .f32], [.bf16x2])
        == ["cvt.rn.bf16x2.f32 %r0, %f1, %f0;"])
    let pair = makeKernel { b in
      b.emit(
        .conversion(.narrowPair), [.constant(.f32(1)), .constant(.f32(2))], results: [.f16x2],
        at: line(1))
    }
    #expect(try body(pair) == ["cvt.rn.f16x2.f32 %r0, 0f40000000, 0f3F800000;"])
    #expect(try spell(.conversion(.widen), [.bf16], [.f32]) == ["mov.b32 %f0, {0, %h0};"])
    #expect(try spell(.conversion(.integer), [.u16], [.u64]) == ["cvt.u64.u16 %d0, %h0;"])
    #expect(try spell(.conversion(.integer), [.s32], [.u32]) == ["mov.b32 %r1, %r0;"])
    #expect(
      try spell(.conversion(.narrowFP8(.e5m2)), [.f16x2], [.u16])
        == ["cvt.rn.satfinite.e5m2x2.f16x2 %h0, %r0;"])
  }

  @Test func `a NaN becomes 0 in 64-bit integers too`() throws {
    #expect(
      try spell(.conversion(.floatToInteger(.towardZero)), [.f32], [.s32])
        == ["cvt.rzi.s32.f32 %r0, %f0;"])
    #expect(
      try spell(.conversion(.floatToInteger(.towardZero)), [.f32], [.s64]) == [
        "cvt.rzi.s64.f32 %d0, %f0;", "setp.num.f32 %p0, %f0, %f0;", "selp.b64 %d1, %d0, 0, %p0;",
      ])
  }

  @Test func `special registers are moved by name`() throws {
    #expect(try spell(.special(.threadIndex(.x)), [], [.u32]) == ["mov.u32 %r0, %tid.x;"])
    #expect(try spell(.special(.clock64), [], [.u64]) == ["mov.u64 %d0, %clock64;"])
  }

  @Test func `memory ops carry order, space, hints, vector and element`() throws {
    var access = Op.MemoryAccess(.global, .b32, offset: -4, isNonCoherent: true, l1: .noAllocate)
    access.l2Prefetch = .bytes128
    access.hasPolicy = true
    #expect(
      try spell(.memory(.ld(access)), [.u64, .u64], [.f32, .f32]) == [
        "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::128B.v2.b32 {%f0, %f1}, [%d0+-4], %d1;"
      ])
    #expect(
      try spell(.memory(.st(.init(.shared, .b64, ordering: .release(.block)))), [.u32, .u64])
        == ["st.release.cta.shared.b64 [%r0], %d0;"])
    #expect(
      try spell(.memory(.atom(.init(.add, .global))), [.u64, .bf16x2], [.bf16x2])
        == ["atom.relaxed.gpu.global.add.noftz.bf16x2 %r1, [%d0], %r0;"])
    #expect(
      try spell(.memory(.sharedAddress(SharedID(1), offset: 8)), [], [.u32])
        == ["mov.u32 %r0, shared_window+520;"])
  }

  @Test func `lane exchanges encode segment and clamp`() throws {
    func shuffle(_ mode: Op.ShuffleMode, _ width: Int) throws -> [String] {
      try spell(
        .warp(.shfl(mode, width: width, members: .max)), [.f32, .u32], [.f32])
    }
    #expect(
      try shuffle(.bfly, 32) == ["shfl.sync.bfly.b32 %f1, %f0, %r0, 31, 0xffffffff;"])
    #expect(
      try shuffle(.up, 8) == ["shfl.sync.up.b32 %f1, %f0, %r0, 6144, 0xffffffff;"])
    #expect(
      try shuffle(.idx, 4) == ["shfl.sync.idx.b32 %f1, %f0, %r0, 7199, 0xffffffff;"])
    #expect(
      try spell(.warp(.matchAll(members: 15)), [.u64], [.u32, .pred])
        == ["match.all.sync.b64 %r0|%p0, %d0, 0xf;"])
  }

  @Test func `barriers add their first number to the index`() throws {
    #expect(
      try spell(.synchronisation(.barrierSync(NamedBarrierID(0)))) == ["bar.sync 1, 64;"])
    #expect(
      try spell(.synchronisation(.barrierArrive(NamedBarrierID(1))), [.u32])
        == ["add.u32 %r1, %r0, 2;", "bar.arrive %r1, 128;"])
  }

  @Test func `waits poll with the instruction of the target`() throws {
    func wait(_ target: Target, _ scope: Op.Scope = .block) throws -> [String] {
      try spell(
        .synchronisation(.mbarrierWait(.init(offset: 8, scope: scope))), [.u32, .u32],
        target: target)
    }
    #expect(
      try wait(.sm80) == [
        "$L1_wait:", "mbarrier.test_wait.parity.shared.b64 %p0, [%r0+8], %r1;",
        "@!%p0 bra $L1_wait;",
      ])
    #expect(
      try wait(.sm90a, .cluster)[1]
        == "mbarrier.try_wait.parity.acquire.cluster.shared.b64 %p0, [%r0+8], %r1;")
  }

  @Test func `tensor copies name completion, box and barrier`() throws {
    let load = Op.TensorAccess(
      dimensions: 3, sharedOffset: 64, barrierOffset: 8, isMulticast: true, hasPolicy: true)
    #expect(
      try spell(.copy(.tensorLoad(load)), [.u32, .u64, .s32, .s32, .s32, .u32, .u16, .u64]) == [
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
          + ".multicast::cluster.L2::cache_hint [%r0+64], [%d0, {%r1, %r2, %r3}], [%r4+8], %h0, %d1;"
      ])
    #expect(
      try spell(.copy(.tensorStore(.init(dimensions: 1), reduction: .add)), [.u64, .u32, .u32])
        == ["cp.reduce.async.bulk.tensor.1d.global.shared::cta.add.bulk_group [%d0, {%r0}], [%r1];"]
    )
    let copy = Op.AsyncCopy(byteCount: 16, hasSourceSize: true)
    #expect(
      try spell(.copy(.async(copy)), [.u32, .u64, .u32], target: .sm80)
        == ["cp.async.cg.shared.global [%r0], [%d0], 16, %r1;"])
  }

  @Test func `products repeat their accumulators`() throws {
    let half: [ValueType] = [.f16x2, .f16x2]
    #expect(
      try spell(
        .tensorCore(.mma(.init(.f16, k: 8, accumulator: .f16))), half + [.u32, .u32, .u32], half)
        == [
          "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r0, %r1}, {%r2, %r3}, {%r4}, "
            + "{%r0, %r1};"
        ])
    let shape = Op.WGMMAShape(n: 8, .f16, transposesB: true, negatesA: true)
    let accumulators = [ValueType](repeating: .f32, count: 4)
    #expect(
      try spell(.tensorCore(.wgmma(shape)), accumulators + [.u64, .u64, .pred], accumulators) == [
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %d0, %d1, %p0, "
          + "-1, 1, 0, 1;"
      ])
  }

  @Test func `literals are exact`() throws {
    let kernel = makeKernel { b in
      let constants: [Constant] = [
        .f32(-0.0), .f32(.nan), .u32(.max), .s32(-1), .u64(1 << 62), .s64(.min), .pred(true),
        Constant(type: .bf16, bits: 0x3F80), Constant(type: .f16x2, bits: 0x3C00_0001), .u16(7),
      ]
      for constant in constants {
        _ = b.variable(constant.type, initial: .constant(constant), at: line(1))
      }
    }
    #expect(
      try body(kernel).map { $0.split(separator: " ").last.map(String.init) } == [
        "0f80000000;", "0f7FC00000;", "0xffffffff;", "-1;", "0x4000000000000000;",
        "-9223372036854775808;", "1;", "0x3F80;", "0x3C000001;", "7;",
      ])
  }
}
