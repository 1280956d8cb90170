import ApusIR
import Testing

@Suite struct AddressOffsetsTests {
  @Test func `constant parts move into the offsets`() {
    let kernel = makeKernel { builder in
      let tile = builder.addShared(name: "tile", byteCount: 4096, alignment: 16)
      let base = builder.address(tile)
      let row = builder.binary(.arithmetic(.add), base, .u32(256))
      let next = builder.binary(.arithmetic(.add), .u32(128), row)
      let back = builder.binary(.arithmetic(.sub), next, .u32(64))
      let x = builder.value(
        .memory(.ld(Op.MemoryAccess(.shared, .b32, offset: 4))), [back], type: .f32, at: line(2))
      builder.perform(.memory(.st(Op.MemoryAccess(.shared, .b32))), [row, .value(x)])
    }
    #expect(
      bodyText(kernel) == [
        "%0: u32 = address.shared tile", "%1: u32 = add %0, 256", "%2: u32 = add 128, %1",
        "%3: u32 = sub %2, 64", "%4: f32 = ld.shared.b32 %3 {offset 4}",
        "st.shared.b32 %1, %4",
      ])
    #expect(
      bodyText(DeadCode.run(AddressOffsets.run(kernel))) == [
        "%0: u32 = address.shared tile", "%4: f32 = ld.shared.b32 %0 {offset 324}",
        "st.shared.b32 %0, %4 {offset 256}",
      ])
  }

  @Test func `every address of a copy folds`() {
    let kernel = makeKernel { builder in
      let tile = builder.addShared(name: "tile", byteCount: 4096, alignment: 1024)
      let full = builder.addShared(
        name: "full", byteCount: 16, alignment: 8, contents: .mbarriers(arrivals: 1))
      let map = builder.addParameter(name: "map", kind: .tensorMap)
      let address = builder.value(.memory(.parameterAddress(map)), type: .u64, at: line(1))
      let to = builder.binary(.arithmetic(.add), builder.address(tile), .u32(1024))
      let bar = builder.binary(.arithmetic(.add), builder.address(full), .u32(8))
      builder.perform(
        .copy(.tensorLoad(Op.TensorAccess(dimensions: 1))), [to, .value(address), .u32(0), bar])
      builder.perform(
        .synchronisation(.mbarrierWait(Op.MBarrierWait(offset: 0))), [bar, .u32(0)])
    }
    #expect(
      bodyText(DeadCode.run(AddressOffsets.run(kernel))).suffix(2) == [
        "cp.async.bulk.tensor.1d.load %1, %0, 0, %3 {shared 1024, barrier 8}",
        "mbarrier.wait %3, 0 {offset 8}",
      ])
  }

  @Test func `sums over variables stay`() {
    let kernel = makeKernel { builder in
      let v = builder.variable(.u32, initial: .u32(0), name: "v", at: line(1))
      let a = builder.binary(.arithmetic(.add), .value(v), .u32(16))
      builder.assign(v, .u32(64), at: line(2))
      builder.perform(.memory(.st(Op.MemoryAccess(.shared, .b32))), [a, .u32(1)])
    }
    #expect(bodyText(AddressOffsets.run(kernel)) == bodyText(kernel))
  }

  @Test func `negative and oversized constants`() {
    let kernel = makeKernel { builder in
      let p = builder.pointer("p")
      for bytes in [UInt64(bitPattern: -32), 1 << 30] {
        let a = builder.binary(.arithmetic(.add), p, .constant(.u64(bytes)))
        builder.perform(.memory(.st(Op.MemoryAccess(.global, .b32))), [a, .u32(1)])
      }
    }
    #expect(
      bodyText(DeadCode.run(AddressOffsets.run(kernel))).dropFirst() == [
        "st.global.b32 %p0, 1 {offset -32}", "%2: u64 = add %p0, 1073741824:u64",
        "st.global.b32 %2, 1",
      ])
  }
}

@Suite struct PassTests {
  @Test func `the standard passes give a kernel that verifies and are idempotent`() {
    let kernel = makeKernel { builder in
      let p = builder.pointer("p")
      let tid = builder.thread()
      for step in 0..<4 {
        let lane = builder.binary(.bits(.and), tid, .u32(31))
        let wide = builder.value(.conversion(.integer), [lane], type: .u64, at: line(2))
        let bytes = builder.value(
          .bits(.shl), [.value(wide), .u32(2)], type: .u64, at: line(3))
        let row = builder.binary(.arithmetic(.add), p, .value(bytes))
        let a = builder.binary(.arithmetic(.add), row, .constant(.u64(UInt64(128 * step))))
        builder.perform(.memory(.st(Op.MemoryAccess(.global, .b32))), [a, lane])
      }
    }
    let optimised = kernel.optimised()
    #expect(
      bodyText(optimised) == [
        "%p0: u64 = ld.param p", "%tid1: u32 = tid.x", "%2: u32 = and %tid1, 31",
        "%3: u64 = cvt %2", "%4: u64 = shl %3, 2", "%5: u64 = add %p0, %4",
        "st.global.b32 %5, %2", "st.global.b32 %5, %2 {offset 128}",
        "st.global.b32 %5, %2 {offset 256}", "st.global.b32 %5, %2 {offset 384}",
      ])
    #expect(findings(optimised) == [])
    #expect(optimised.optimised() == optimised)
  }
}
