import ApusIR

extension Machine {
  func execute(_ op: Op.Bits, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    let type = i.inputs[0].type
    let width = UInt64(type.bitWidth)
    /// Applies `f` to the zero-extended patterns of up to three operands.
    func patterns(_ f: (UInt64, UInt64, UInt64) -> UInt64) -> Outcome {
      warp.forEachLane { lane in
        warp.set(
          i.outputs[0], lane,
          f(
            warp.get(i.inputs[0], lane), i.inputs.count > 1 ? warp.get(i.inputs[1], lane) : 0,
            i.inputs.count > 2 ? warp.get(i.inputs[2], lane) : 0))
      }
      return .next
    }
    switch op {
    case .and: return patterns { a, b, _ in a & b }
    case .or: return patterns { a, b, _ in a | b }
    case .xor: return patterns { a, b, _ in a ^ b }
    case .not:
      return patterns { a, _, _ in type == .pred ? a ^ 1 : ~a }
    case .shl: return patterns { a, n, _ in n >= width ? 0 : a << n }
    case .shr:
      if !type.isSigned { return patterns { a, n, _ in n >= width ? 0 : a >> n } }
      return patterns { a, n, _ in
        let value = width == 64 ? Int64(bitPattern: a) : Int64(Int32(truncatingIfNeeded: a))
        return UInt64(bitPattern: value >> Int64(min(n, width - 1)))
      }
    case .funnelShiftLeft(let mode):
      return patterns { low, high, n in
        let amount = mode == .wrap ? n & 31 : min(n, 32)
        return ((high << 32 | low) << amount) >> 32
      }
    case .funnelShiftRight(let mode):
      return patterns { low, high, n in
        let amount = mode == .wrap ? n & 31 : min(n, 32)
        return (high << 32 | low) >> amount & 0xFFFF_FFFF
      }
    case .prmt: return patterns { low, high, selector in permute(high << 32 | low, selector) }
    case .lop3(let table):
      return patterns { a, b, c in
        var result: UInt64 = 0
        for bit in 0..<UInt64(32) {
          let index = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1
          result |= UInt64(table >> UInt8(index) & 1) << bit
        }
        return result
      }
    case .popc: return patterns { a, _, _ in UInt64(a.nonzeroBitCount) }
    case .clz: return patterns { a, _, _ in UInt64(a.leadingZeroBitCount) - (64 - width) }
    case .brev:
      warp.map64or32(i, wide: { Machine.reversed($0) }, narrow: { Machine.reversed($0) })
      return .next
    case .bfe: return patterns { a, start, length in extract(a, start, length, type) }
    case .bfi:
      warp.forEachLane { lane in
        let start = warp.get(i.inputs[2], lane) & 0xFF
        let length = warp.get(i.inputs[3], lane) & 0xFF
        let ones = length >= 32 ? 0xFFFF_FFFF : UInt64(1) << length - 1
        let mask = start >= 32 ? 0 : ones << start & 0xFFFF_FFFF
        let field = start >= 32 ? 0 : warp.get(i.inputs[0], lane) << start & mask
        warp.set(i.outputs[0], lane, warp.get(i.inputs[1], lane) & ~mask | field)
      }
      return .next
    case .setp(let comparison): return compare(comparison, i, warp)
    }
  }

  static func reversed<T: FixedWidthInteger>(_ value: T) -> T {
    var (rest, result) = (value, T(0))
    for _ in 0..<T.bitWidth {
      result = result << 1 | rest & 1
      rest >>= 1
    }
    return result
  }

  private func permute(_ source: UInt64, _ selector: UInt64) -> UInt64 {
    var result: UInt64 = 0
    for index in 0..<UInt64(4) {
      let control = selector >> (4 * index)
      var byte = source >> (8 * (control & 7)) & 0xFF
      if control & 8 != 0 { byte = byte & 0x80 != 0 ? 0xFF : 0 }
      result |= byte << (8 * index)
    }
    return result
  }

  private func extract(
    _ bits: UInt64, _ start: UInt64, _ length: UInt64, _ type: ValueType
  ) -> UInt64 {
    let (start, length) = (start & 0xFF, length & 0xFF)
    guard length > 0 else { return 0 }
    // Sign-extended first, the field's bits past the top are the top bit, as the manual asks.
    let value = type == .s32 ? Int64(Int32(truncatingIfNeeded: bits)) : Int64(bits)
    let shifted = value >> Int64(min(start, 63))
    guard length < 64 else { return UInt64(bitPattern: shifted) }
    let top = Int64(64 - length)
    return type == .s32
      ? UInt64(bitPattern: (shifted << top) >> top)
      : UInt64(bitPattern: shifted) & (UInt64(1) << length - 1)
  }

  private func compare(
    _ comparison: Op.Comparison, _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    let type = i.inputs[0].type
    switch type {
    case .f32:
      warp.map(i) { (a: Float, b: Float) -> UInt32 in FloatMath.compare(comparison, a, b) ? 1 : 0 }
    case .f16, .bf16:
      warp.map(i) { (a: UInt32, b: UInt32) -> UInt32 in
        FloatMath.compare(comparison, FloatMath.widen(a, type), FloatMath.widen(b, type)) ? 1 : 0
      }
    case .u16, .u32:
      warp.map(i) { (a: UInt32, b: UInt32) -> UInt32 in FloatMath.compare(comparison, a, b) ? 1 : 0
      }
    case .s32:
      warp.map(i) { (a: Int32, b: Int32) -> UInt32 in FloatMath.compare(comparison, a, b) ? 1 : 0 }
    case .u64:
      warp.map(i) { (a: UInt64, b: UInt64) -> UInt32 in FloatMath.compare(comparison, a, b) ? 1 : 0
      }
    case .s64:
      warp.map(i) { (a: Int64, b: Int64) -> UInt32 in FloatMath.compare(comparison, a, b) ? 1 : 0 }
    case .pred, .f16x2, .bf16x2: return unsupported(warp)
    }
    return .next
  }
}

extension Warp {
  /// A map whose operand and result have the same width of 32 or 64 bits.
  func map64or32(
    _ i: Code.Instruction, wide: (UInt64) -> UInt64, narrow: (UInt32) -> UInt32
  ) {
    if i.inputs[0].type.bitWidth == 64 { map(i, wide) } else { map(i, narrow) }
  }
}
