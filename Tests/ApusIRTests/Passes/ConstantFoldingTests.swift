import ApusIR
import ApusNumerics
import Testing

@Suite struct ConstantFoldingTests {
  @Test func `known sums and products become constants`() {
    let kernel = makeKernel { builder in
      let a = builder.binary(.arithmetic(.add), .u32(3), .u32(4))
      let b = builder.binary(.arithmetic(.mul), a, .u32(10))
      builder.use(b)
    }
    #expect(
      bodyText(kernel) == [
        "%0: u32 = add 3, 4", "%1: u32 = mul %0, 10", "st.global.b32 0:u64, %1",
      ])
    #expect(bodyText(ConstantFolding.run(kernel)) == ["st.global.b32 0:u64, 70"])
  }

  @Test func `identities give their operand`() {
    let kernel = makeKernel { builder in
      let x = builder.thread()
      let a = builder.binary(.arithmetic(.add), x, .u32(0))
      let b = builder.binary(.arithmetic(.mul), .u32(1), a)
      let c = builder.binary(.bits(.shl), b, .u32(0))
      let d = builder.binary(.bits(.and), c, .u32(.max))
      builder.use(builder.binary(.bits(.xor), d, .u32(0)))
    }
    #expect(
      bodyText(ConstantFolding.run(kernel)) == [
        "%tid0: u32 = tid.x", "st.global.b32 0:u64, %tid0",
      ])
  }

  @Test func `floating-point sums with zero stay`() {
    let kernel = makeKernel { builder in
      let id = builder.addParameter(name: "x", kind: .scalar(.f32))
      let x = builder.value(.memory(.parameter(id, offset: 0)), type: .f32, at: line(1))
      let sum = builder.binary(.arithmetic(.add), .value(x), .f32(0))
      builder.use(builder.binary(.arithmetic(.mul), sum, .f32(1)))
    }
    #expect(
      bodyText(ConstantFolding.run(kernel)) == [
        "%0: f32 = ld.param x", "%1: f32 = add %0, 0.0", "st.global.b32 0:u64, %1",
      ])
  }

  @Test func `a snapshot of a variable stays`() {
    let kernel = makeKernel { builder in
      let v = builder.variable(.u32, initial: .u32(1), name: "v", at: line(1))
      let old = builder.value(.movement(.copy), [.value(v)], type: .u32, name: "old", at: line(2))
      let same = builder.binary(.arithmetic(.add), .value(v), .u32(0), name: "same")
      builder.assign(v, .u32(2), at: line(3))
      builder.use(.value(old))
      builder.use(same)
    }
    #expect(bodyText(ConstantFolding.run(kernel)) == bodyText(kernel))
  }

  @Test func `branches on constants become the region they take`() {
    let kernel = makeKernel { builder in
      let yes = builder.region { $0.use(.u32(1)) }
      let no = builder.region { $0.use(.u32(2)) }
      let p = builder.value(.bits(.setp(.lt)), [.u32(5), .u32(3)], type: .pred, at: line(1))
      builder.emit(.control(.if(.uniform)), [.value(p)], regions: [yes, no], at: line(1))
      builder.emit(.control(.if(.uniform)), [.value(p)], regions: [yes], at: line(2))
    }
    #expect(bodyText(ConstantFolding.run(kernel)) == ["st.global.b32 0:u64, 2"])
  }

  @Test func `what follows an exit goes`() {
    let kernel = makeKernel { builder in
      let end = builder.region { $0.perform(.control(.exit)) }
      builder.emit(.control(.if(.uniform)), [.pred(true)], regions: [end], at: line(1))
      builder.use(.u32(2))
    }
    #expect(bodyText(ConstantFolding.run(kernel)) == ["exit"])
    #expect(findings(ConstantFolding.run(kernel)) == [])
  }

  /// What a single op on constants folds to, nil if it stays.
  private func folded(_ op: Op, _ operands: [Constant], _ type: ValueType) -> Constant? {
    let kernel = makeKernel { builder in
      let x = builder.value(op, operands.map(Operand.constant), type: type, at: line(1))
      builder.emit(.movement(.variable), [.value(x)], results: [type], at: line(2))
    }
    return ConstantFolding.run(kernel).body.nodes.last?.operands.first?.constant
  }

  @Test func `integers follow two's complement`() {
    #expect(folded(.arithmetic(.add), [.u32(.max), .u32(2)], .u32) == .u32(1))
    #expect(folded(.arithmetic(.div), [.s32(-7), .s32(2)], .s32) == .s32(-3))
    #expect(folded(.arithmetic(.rem), [.s32(-7), .s32(2)], .s32) == .s32(-1))
    #expect(folded(.arithmetic(.div), [.u32(7), .u32(0)], .u32) == nil)
    #expect(folded(.arithmetic(.div), [.s64(.min), .s64(-1)], .s64) == nil)
    #expect(folded(.arithmetic(.mulWide), [.s32(-3), .s32(5)], .s64) == .s64(-15))
    #expect(
      folded(.arithmetic(.mulWide), [.u32(.max), .u32(.max)], .u64)
        == .u64(0xFFFF_FFFE_0000_0001))
    #expect(folded(.arithmetic(.min), [.s32(-1), .s32(1)], .s32) == .s32(-1))
    #expect(folded(.arithmetic(.max), [.u32(.max), .u32(1)], .u32) == .u32(.max))
    #expect(folded(.bits(.shr), [.s32(-8), .u32(40)], .s32) == .s32(-1))
    #expect(folded(.bits(.shr), [.u32(8), .u32(40)], .u32) == .u32(0))
    #expect(folded(.bits(.clz), [.u32(1)], .u32) == .u32(31))
    #expect(folded(.conversion(.integer), [.s32(-1)], .u64) == .u64(.max))
    #expect(folded(.conversion(.integer), [.u32(.max)], .u64) == .u64(0xFFFF_FFFF))
  }

  @Test func `bit ops follow their tables`() {
    let (a, b, c): (UInt32, UInt32, UInt32) = (0b1100_1010, 0b1010_0110, 0b1001_1100)
    let operands: [Constant] = [.u32(a), .u32(b), .u32(c)]
    #expect(folded(.bits(.lop3(table: 0xC0)), operands, .u32) == .u32(a & b))
    #expect(folded(.bits(.lop3(table: 0xEA)), operands, .u32) == .u32(a & b | c))
    #expect(folded(.bits(.lop3(table: 0x96)), operands, .u32) == .u32(a ^ b ^ c))
    let bytes: [Constant] = [.u32(0x3382_1180), .u32(0x7766_5544), .u32(0x98_70)]
    #expect(folded(.bits(.prmt), bytes, .u32) == .u32(0x00FF_7780))
  }

  @Test func `floats round once and NaN is left alone`() {
    let (a, b): (Float, Float) = (1 + 0x1p-12, 1 - 0x1p-12)
    #expect(
      folded(.arithmetic(.fma), [.f32(a), .f32(b), .f32(-1)], .f32) == .f32(-0x1p-24))
    #expect(
      folded(.arithmetic(.fma), [.f32(1 + 0x1p-23), .f32(1 + 0x1p-23), .f32(0x1p100)], .f32)
        == nil)
    #expect(folded(.arithmetic(.sub), [.f32(.infinity), .f32(.infinity)], .f32) == nil)
    #expect(folded(.arithmetic(.max), [.f32(-1), .f32(2)], .f32) == .f32(2))
    #expect(folded(.arithmetic(.max), [.f32(0), .f32(-0.0)], .f32) == nil)
    #expect(folded(.arithmetic(.addRounded(.down)), [.f32(1), .f32(1)], .f32) == nil)
    #expect(folded(.conversion(.integerToFloat), [.u32(16_777_217)], .f32) == .f32(16_777_216))
    #expect(
      folded(.movement(.pack), [.bf16(BFloat16(1)), .bf16(BFloat16(2))], .u32)
        == .u32(0x4000_3F80))
  }
}
