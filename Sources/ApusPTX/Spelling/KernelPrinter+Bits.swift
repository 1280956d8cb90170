import ApusIR

extension KernelPrinter {
  /// Bits: logic is untyped; shifts to the right, extraction and comparison know signs.
  mutating func print(_ op: Op.Bits) throws(PTXError) {
    let type = try type(0)
    switch op {
    case .and: try plain("and." + type.bits)
    case .or: try plain("or." + type.bits)
    case .xor: try plain("xor." + type.bits)
    case .shl: try plain("shl." + type.bits)
    case .shr: try plain("shr." + type.description)
    case .not, .popc, .clz, .brev: try plain("\(op).\(type.bits)")
    case .bfe: try plain("bfe." + type.description)
    case .funnelShiftLeft(let mode): try plain("shf.l.\(mode).b32")
    case .funnelShiftRight(let mode): try plain("shf.r.\(mode).b32")
    case .prmt: try plain("prmt.b32")
    case .bfi: try plain("bfi.b32")
    case .lop3(let table):
      try plain("lop3.b32", suffix: ", 0x" + String(table, radix: 16))
    case .setp(let comparison): try plain("setp." + comparison.description + "." + type.description)
    }
  }

  /// Conversions: `cvt`, and moves where only the type changes.
  mutating func print(_ op: Op.Conversion) throws(PTXError) {
    let source = try type(0)
    let destination = try resultType(0)
    switch op {
    case .integer:
      if source.bitWidth == destination.bitWidth {
        try plain("mov.\(destination.bits)")
      } else {
        try plain("cvt.\(destination).\(source)")
      }
    case .integerToFloat: try plain("cvt.rn.f32.\(source)")
    case .floatToInteger(let rounding):
      try floatToInteger("cvt.\(rounding)i.\(destination).f32", destination)
    case .roundToInteger(let rounding): try plain("cvt.\(rounding)i.f32.f32")
    case .widen:
      if source == .bf16 {
        // The pattern is the upper half of the f32's; `cvt.f32.bf16` exists from sm_90 on only.
        line("mov.b32 \(try result(0)), {0, \(try register(0))}")
      } else {
        try plain("cvt.f32.f16")
      }
    case .narrow: try plain("cvt.rn.\(destination).f32")
    case .narrowPair: try highFirst("cvt.rn." + destination.description + ".f32")
    case .narrowFP8(let format):
      if source == .f16x2 {
        try plain("cvt.rn.satfinite.\(format)x2.f16x2")
      } else {
        try highFirst("cvt.rn.satfinite.\(format)x2.f32")
      }
    case .widenFP8(let format): try inRegisters("cvt.rn.f16x2.\(format)x2")
    case .tf32: try plain("cvt.rna.tf32.f32")
    }
  }

  /// Pairs of the language have their low element first, those of `cvt` their high one.
  private mutating func highFirst(_ opcode: String) throws(PTXError) {
    if let first = node.results.first, node.operands.count == 2, canWrite(0..<2) {
      begin(opcode)
      write(first)
      writeComma()
      writeOperand(1)
      writeComma()
      writeOperand(0)
      return finishLine()
    }
    line("\(opcode) \(try result(0)), \(try operand(1)), \(try operand(0))")
  }

  /// Clamping is what `cvt` does. A NaN gives 0 in 32 bits but 2^63 in 64 (PTX § cvt), where a
  /// select restores the language's 0.
  private mutating func floatToInteger(_ opcode: String, _ type: ValueType) throws(PTXError) {
    guard type.bitWidth == 64 else { return try plain(opcode) }
    let source = try register(0)
    let converted = fresh(type)
    let isNumber = fresh(.pred)
    line("\(opcode) \(converted), \(source)")
    line("setp.num.f32 \(isNumber), \(source), \(source)")
    line("selp.b64 \(try result(0)), \(converted), 0, \(isNumber)")
  }
}
