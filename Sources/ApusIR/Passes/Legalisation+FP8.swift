extension Legalisation.Rewriter {
  /// Appends an op with one result.
  private mutating func emit(
    _ op: Op, _ operands: [Operand], _ type: ValueType = .u32, like node: Node,
    into nodes: inout [Node]
  ) -> Operand {
    kernel.values.append(ValueInfo(type: type, nameHint: "fp8_", location: node.location))
    let id = ValueID(kernel.values.count - 1)
    nodes.append(Node(op, operands: operands, results: [id], location: node.location))
    return .value(id)
  }

  private func word(_ bits: UInt32) -> Operand { .constant(.u32(bits)) }

  /// FP8 codes to binary16.
  mutating func widen(_ format: Op.FP8Format, _ node: Node, into nodes: inout [Node]) {
    func emit(
      _ rewriter: inout Self, _ op: Op, _ operands: [Operand], _ type: ValueType = .u32
    ) -> Operand {
      rewriter.emit(op, operands, type, like: node, into: &nodes)
    }
    func finish(_ value: Operand) {
      nodes.append(
        Node(
          .movement(.bitcast), operands: [value], results: node.results, location: node.location))
    }
    let codes = emit(&self, .conversion(.integer), [node.operands[0]])
    // Code 0 to byte 1, code 1 to byte 3, zeros between.
    let spread = emit(&self, .bits(.prmt), [codes, word(0), word(0x1404)])
    guard format == .e4m3 else { return finish(spread) }
    let magnitude = emit(&self, .bits(.and), [spread, word(0x7F00_7F00)])
    let shifted = emit(&self, .bits(.shr), [magnitude, word(1)])
    // (spread & signs) | shifted
    let scaled = emit(
      &self, .bits(.lop3(table: 0xEA)), [spread, word(0x8000_8000), shifted])
    let half = emit(&self, .movement(.bitcast), [scaled], .f16x2)
    let factor = Constant(type: .f16x2, bits: 0x5C00_5C00)  // 256
    let product = emit(&self, .arithmetic(.mul), [half, .constant(factor)], .f16x2)
    let bits = emit(&self, .movement(.bitcast), [product])
    let carried = emit(&self, .arithmetic(.add), [magnitude, word(0x0100_0100)])
    let isNaN = emit(&self, .bits(.and), [carried, word(0x8000_8000)])
    let ones = emit(&self, .bits(.shr), [isNaN, word(15)])
    let mask = emit(&self, .arithmetic(.sub), [isNaN, ones])
    finish(emit(&self, .bits(.or), [bits, mask]))
  }

  /// Two binary32 or binary16 values to FP8 codes.
  mutating func narrow(
    _ format: Op.FP8Format, _ node: Node, type: ValueType?, into nodes: inout [Node]
  ) {
    func emit(
      _ rewriter: inout Self, _ op: Op, _ operands: [Operand], _ type: ValueType = .u32
    ) -> Operand {
      rewriter.emit(op, operands, type, like: node, into: &nodes)
    }
    var sources = node.operands
    if type == .f16x2 {
      kernel.values.append(ValueInfo(type: .f16, nameHint: "fp8_", location: node.location))
      kernel.values.append(ValueInfo(type: .f16, nameHint: "fp8_", location: node.location))
      let count = kernel.values.count
      let halves = [ValueID(count - 2), ValueID(count - 1)]
      nodes.append(
        Node(
          .movement(.unpack), operands: node.operands, results: halves, location: node.location))
      sources = halves.map { emit(&self, .conversion(.widen), [.value($0)], .f32) }
    }
    // Largest value, mantissa bits dropped, bias difference in code units, least normal value, and
    // the power of two that rounds to multiples of the least subnormal one.
    let (largest, dropped, bias, normal, magic): (Float, UInt32, UInt32, Float, Float) =
      format == .e4m3
      ? (448, 20, 120 << 3, 0x1p-6, 0x1p14) : (57344, 21, 112 << 2, 0x1p-14, 0x1p7)
    let codes = sources.map { source -> Operand in
      let pattern = emit(&self, .movement(.bitcast), [source])
      let magnitude = emit(&self, .arithmetic(.abs), [source], .f32)
      let clamped = emit(&self, .arithmetic(.min), [magnitude, .constant(.f32(largest))], .f32)
      let bits = emit(&self, .movement(.bitcast), [clamped])
      let last = emit(&self, .bits(.bfe), [bits, word(dropped), word(1)])
      let half = emit(&self, .arithmetic(.add), [bits, word(1 << (dropped - 1) - 1)])
      let rounded = emit(&self, .arithmetic(.add), [half, last])
      let shifted = emit(&self, .bits(.shr), [rounded, word(dropped)])
      let large = emit(&self, .arithmetic(.sub), [shifted, word(bias)])
      let sum = emit(&self, .arithmetic(.add), [clamped, .constant(.f32(magic))], .f32)
      let low = emit(&self, .movement(.bitcast), [sum])
      let small = emit(&self, .arithmetic(.sub), [low, word(magic.bitPattern)])
      let isSmall = emit(&self, .bits(.setp(.lt)), [clamped, .constant(.f32(normal))], .pred)
      let code = emit(&self, .movement(.select), [isSmall, small, large])
      let sign = emit(&self, .bits(.shr), [pattern, word(24)])
      // (sign & 0x80) | code
      let signed = emit(&self, .bits(.lop3(table: 0xEA)), [sign, word(0x80), code])
      let isNaN = emit(&self, .bits(.setp(.nan)), [source, source], .pred)
      return emit(&self, .movement(.select), [isNaN, word(0x7F), signed])
    }
    let high = emit(&self, .bits(.shl), [codes[1], word(8)])
    let both = emit(&self, .bits(.or), [codes[0], high])
    nodes.append(
      Node(
        .conversion(.integer), operands: [both], results: node.results, location: node.location))
  }
}
