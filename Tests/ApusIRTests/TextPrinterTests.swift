import ApusIR
import Testing

@Suite struct TextPrinterTests {
  /// A producer that copies a tile and a consumer that multiplies it: most kinds of lines.
  private var sample: KernelIR {
    makeKernel(threads: 256) { builder in
      let map = builder.addParameter(name: "map", kind: .tensorMap)
      let scale = builder.addParameter(name: "scale", kind: .scalar(.f32))
      let tile = builder.addShared(name: "tile", byteCount: 8192, alignment: 1024)
      let full = builder.addShared(
        name: "full", byteCount: 8, alignment: 8, contents: .mbarriers(arrivals: 1))
      let ready = builder.addBarrier(name: "ready", firstID: 1, threads: 128)
      builder.perform(.control(.phase("set up")), at: 9)
      let tid = builder.thread(10)
      let warp = builder.binary(.bits(.shr), tid, .u32(5), name: "warp", at: 11)
      let bar = builder.address(full, at: 12)
      let first = builder.value(
        .bits(.setp(.eq)), [tid, .u32(0)], type: .pred, name: "first", at: line(13))
      let start = builder.region { inner in
        inner.perform(.synchronisation(.mbarrierInit(offset: 0)), [bar, .u32(1)], at: 14)
        inner.perform(.synchronisation(.fence(.mbarrierInit)), at: 15)
      }
      builder.emit(.control(.if(.divergent)), [.value(first)], regions: [start], at: line(13))
      let load = builder.region { inner in
        let address = inner.value(
          .memory(.parameterAddress(map)), type: .u64, name: "map", at: line(20))
        let to = inner.address(tile, at: 21)
        inner.perform(
          .synchronisation(.mbarrierArriveExpect(Op.MBarrierArrive())), [bar, .u32(8192)], at: 22)
        inner.perform(
          .copy(.tensorLoad(Op.TensorAccess(dimensions: 2, sharedOffset: 1024))),
          [to, .value(address), .u32(0), .constant(.s32(-1)), bar], at: 23)
      }
      let multiply = builder.region { inner in
        let d = inner.accumulators(4, at: 30)
        let i = inner.variable(.u32, initial: .u32(0), name: "i", at: line(31))
        inner.perform(
          .synchronisation(.mbarrierWait(Op.MBarrierWait())), [bar, .u32(0)], at: 32)
        let body = inner.region { loop in
          let done = loop.value(
            .bits(.setp(.ge)), [.value(i), .u32(4)], type: .pred, at: line(34))
          loop.perform(.control(.breakIf), [.value(done)], at: 34)
          loop.perform(.tensorCore(.wgmmaFence), at: 35)
          loop.product(d, at: 36)
          loop.perform(.tensorCore(.wgmmaCommit), at: 37)
          loop.perform(.tensorCore(.wgmmaWait(pending: 0)), at: 38)
          let next = loop.binary(.arithmetic(.add), .value(i), .u32(1), at: 39)
          loop.assign(i, next, at: line(39))
        }
        inner.emit(.control(.loop(.automatic)), regions: [body], at: line(33))
        inner.perform(.synchronisation(.barrierSync(ready)), at: 40)
        let factor = inner.value(
          .memory(.parameter(scale, offset: 0)), type: .f32, name: "scale", at: line(41))
        let scaled = inner.binary(.arithmetic(.mul), .value(d[0]), .value(factor), at: 42)
        inner.use(scaled, at: 43)
      }
      builder.emit(
        .control(
          .roles([
            Role(name: "producer", warps: 0..<4, registers: 24),
            Role(name: "consumer", warps: 4..<8, registers: 240),
          ])), [warp], regions: [load, multiply], at: line(19))
    }
  }

  @Test func `a kernel prints as its golden text`() {
    #expect(
      TextPrinter().print(sample) == """
        kernel k(map: tensor map, scale: f32)
          launch threads 256, min blocks 1, cluster 1
          shared tile: 8192 bytes at 0, align 1024
          shared full: 8 bytes at 8192, align 8, mbarriers of 1
          barrier ready: id 1, 128 threads
        {
          // == set up  // K.swift:9
          %tid0: u32 = tid.x  // K.swift:10
          %warp1: u32 = shr %tid0, 5  // K.swift:11
          %2: u32 = address.shared full  // K.swift:12
          %first3: pred = setp.eq %tid0, 0  // K.swift:13
          if %first3 {  // K.swift:13
            mbarrier.init %2, 1  // K.swift:14
            fence.mbarrier_init  // K.swift:15
          }
          roles %warp1  // K.swift:19
          role producer warps 0..<4, registers 24 {
            %map4: u64 = address.param map  // K.swift:20
            %5: u32 = address.shared tile  // K.swift:21
            mbarrier.arrive.expect_tx %2, 8192  // K.swift:22
            cp.async.bulk.tensor.2d.load %5, %map4, 0, -1:s32, %2 {shared 1024}  // K.swift:23
          }
          role consumer warps 4..<8, registers 240 {
            %d6: f32 = variable 0.0  // K.swift:30
            %d7: f32 = variable 0.0  // K.swift:30
            %d8: f32 = variable 0.0  // K.swift:30
            %d9: f32 = variable 0.0  // K.swift:30
            %i10: u32 = variable 0  // K.swift:31
            mbarrier.wait %2, 0  // K.swift:32
            loop {  // K.swift:33
              %11: pred = setp.ge %i10, 4  // K.swift:34
              break_if %11  // K.swift:34
              wgmma.fence  // K.swift:35
              wgmma.m64n8k16.f32.bf16.bf16.ss [%d6...%d9] 0:u64, 0:u64, true  // K.swift:36
              wgmma.commit_group  // K.swift:37
              wgmma.wait_group {pending 0}  // K.swift:38
              %12: u32 = add %i10, 1  // K.swift:39
              %i10 = assign %12  // K.swift:39
            }
            bar.sync ready  // K.swift:40
            %scale13: f32 = ld.param scale  // K.swift:41
            %14: f32 = mul %d6, %scale13  // K.swift:42
            st.global.b32 0:u64, %14  // K.swift:43
          }
        }

        """)
  }

  @Test func `the sample verifies and printing is stable`() {
    #expect(findings(sample) == [])
    #expect(text(sample) == text(sample))
    #expect(!text(sample).contains("K.swift"))
  }

  @Test func `a module prints its kernels apart`() {
    let module = ModuleIR(kernels: [sample, sample])
    let printer = TextPrinter()
    #expect(printer.print(module) == printer.print(sample) + "\n" + printer.print(sample))
  }
}
