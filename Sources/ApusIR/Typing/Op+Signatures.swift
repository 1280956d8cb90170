extension Op {
  /// The signatures a node of this op may have, given how many operands and results it has (they
  /// fix the length of vectors and the presence of optional operands).
  public func signatures(operandCount: Int, resultCount: Int) -> [Signature] {
    switch self {
    case .movement(let op): op.signatures(operandCount: operandCount)
    case .arithmetic(let op): op.signatures
    case .bits(let op): op.signatures
    case .conversion(let op): op.signatures
    case .special(let register): [Signature([], [.fixed(register.type)])]
    case .memory(let op): op.signatures(operandCount: operandCount, resultCount: resultCount)
    case .warp(let op): op.signatures(resultCount: resultCount)
    case .synchronisation(let op): op.signatures(operandCount: operandCount)
    case .copy(let op): op.signatures(operandCount: operandCount)
    case .tensorCore(let op): op.signatures
    case .control(let op): op.signatures
    }
  }
}

private let u32 = Signature.Slot.fixed(.u32)
private let u64 = Signature.Slot.fixed(.u64)
private let f32 = Signature.Slot.fixed(.f32)
private let pred = Signature.Slot.fixed(.pred)

extension Op.Movement {
  fileprivate func signatures(operandCount: Int) -> [Signature] {
    switch self {
    case .variable: [Signature(operandCount == 0 ? [] : [.t], [.t])]
    case .assign, .copy: [Signature([.t], [.t])]
    case .select: [Signature([pred, .t, .t], [.t], t: .data)]
    case .bitcast:
      [TypeSet.width16, .width32, .width64].map { Signature([.s], [.t], t: $0, s: $0) }
    case .pack:
      [
        Signature([.s, .s], [.t], t: .width32, s: .width16),
        Signature([.s, .s], [.t], t: .width64, s: .width32),
      ]
    case .unpack:
      [
        Signature([.s], [.t, .t], t: .width16, s: .width32),
        Signature([.s], [.t, .t], t: .width32, s: .width64),
      ]
    }
  }
}

extension Op.Arithmetic {
  fileprivate var signatures: [Signature] {
    switch self {
    case .add, .sub, .mul, .min, .max: [Signature([.t, .t], [.t], t: .numbers)]
    case .fma: [Signature([.t, .t, .t], [.t], t: .floats)]
    case .addRounded, .mulRounded: [Signature([f32, f32], [f32])]
    case .fmaRounded: [Signature([f32, f32, f32], [f32])]
    case .mulHigh: [Signature([.t, .t], [.t], t: .integers)]
    case .mulWide:
      [
        Signature([u32, u32], [u64]),
        Signature([.fixed(.s32), .fixed(.s32)], [.fixed(.s64)]),
      ]
    case .mad: [Signature([.t, .t, .t], [.t], t: .integers)]
    case .madWide:
      [
        Signature([u32, u32, u64], [u64]),
        Signature([.fixed(.s32), .fixed(.s32), .fixed(.s64)], [.fixed(.s64)]),
      ]
    case .div: [Signature([.t, .t], [.t], t: [.integers, TypeSet(.f32)])]
    case .rem: [Signature([.t, .t], [.t], t: .integers)]
    case .minNaN, .maxNaN: [Signature([.t, .t], [.t], t: .floats)]
    case .neg, .abs: [Signature([.t], [.t], t: [.floats, TypeSet(.s32, .s64)])]
    case .approximate(let function):
      switch function {
      case .ex2, .tanh: [Signature([.t], [.t], t: .floats)]
      case .lg2, .rcp, .rsqrt, .sqrt, .sin, .cos: [Signature([f32], [f32])]
      }
    case .packed16: [Signature([u32, u32], [u32])]
    }
  }
}

extension Op.Bits {
  fileprivate var signatures: [Signature] {
    let unsigned = TypeSet(.u32, .u64)
    return switch self {
    case .and, .or, .xor: [Signature([.t, .t], [.t], t: .bits)]
    case .not: [Signature([.t], [.t], t: .bits)]
    case .shl, .shr: [Signature([.t, u32], [.t], t: .allIntegers)]
    case .funnelShiftLeft, .funnelShiftRight, .prmt, .lop3: [Signature([u32, u32, u32], [u32])]
    case .popc, .clz: [Signature([.t], [u32], t: unsigned)]
    case .brev: [Signature([.t], [.t], t: unsigned)]
    case .bfe: [Signature([.t, u32, u32], [.t], t: TypeSet(.u32, .s32))]
    case .bfi: [Signature([u32, u32, u32, u32], [u32])]
    case .setp(let comparison):
      [
        Signature(
          [.t, .t], [pred],
          t: comparison.needsFloat
            ? TypeSet(.f32, .f16, .bf16) : [.allIntegers, TypeSet(.f32, .f16, .bf16)])
      ]
    }
  }
}

extension Op.Conversion {
  fileprivate var signatures: [Signature] {
    switch self {
    case .integer: [Signature([.s], [.t], t: .allIntegers, s: .allIntegers)]
    case .integerToFloat: [Signature([.s], [f32], s: .integers)]
    case .floatToInteger: [Signature([f32], [.t], t: .integers)]
    case .roundToInteger: [Signature([f32], [f32])]
    case .widen: [Signature([.s], [f32], s: TypeSet(.f16, .bf16))]
    case .narrow: [Signature([f32], [.t], t: TypeSet(.f16, .bf16))]
    case .narrowPair: [Signature([f32, f32], [.t], t: TypeSet(.f16x2, .bf16x2))]
    case .narrowFP8:
      [
        Signature([f32, f32], [.fixed(.u16)]),
        Signature([.fixed(.f16x2)], [.fixed(.u16)]),
      ]
    case .widenFP8: [Signature([.fixed(.u16)], [.fixed(.f16x2)])]
    case .tf32: [Signature([f32], [u32])]
    }
  }
}

extension Op.Warp {
  fileprivate func signatures(resultCount: Int) -> [Signature] {
    let keys = TypeSet(.u32, .u64)
    return switch self {
    case .shfl: [Signature([.t, u32], resultCount == 2 ? [.t, pred] : [.t], t: .width32)]
    case .vote(.ballot, _): [Signature([pred], [u32])]
    case .vote: [Signature([pred], [pred])]
    case .redux(let op, _):
      switch op {
      case .add, .min, .max: [Signature([.t], [.t], t: TypeSet(.u32, .s32))]
      case .and, .or, .xor: [Signature([u32], [u32])]
      }
    case .elect: [Signature([], [pred])]
    case .matchAny: [Signature([.t], [u32], t: keys)]
    case .matchAll: [Signature([.t], [u32, pred], t: keys)]
    case .syncWarp: [Signature([])]
    case .movmatrix: [Signature([.t], [.t], t: .width32)]
    }
  }
}

extension Op.TensorCore {
  fileprivate var signatures: [Signature] {
    switch self {
    case .ldmatrix(let access): [Signature([u32], repeated(.t, access.count), t: .width32)]
    case .stmatrix(let access): [Signature([u32] + repeated(.t, access.count), t: .width32)]
    case .mma(let shape):
      [
        Signature(
          repeated(.fixed(shape.accumulator.valueType), shape.accumulatorCount)
            + repeated(.of(shape.a.registerTypes), shape.aCount)
            + repeated(.of(shape.b.registerTypes), shape.bCount),
          repeated(.fixed(shape.accumulator.valueType), shape.accumulatorCount))
      ]
    case .wgmma(let shape):
      [
        Signature(
          repeated(.fixed(shape.accumulator.valueType), shape.accumulatorCount)
            + (shape.aInRegisters ? repeated(.of(shape.a.registerTypes), 4) : [u64])
            + [u64, pred],
          repeated(.fixed(shape.accumulator.valueType), shape.accumulatorCount))
      ]
    case .wgmmaFence, .wgmmaCommit, .wgmmaWait: [Signature([])]
    }
  }
}

extension Op.MatrixElement {
  /// Register types that may hold elements of this kind.
  var registerTypes: TypeSet {
    switch self {
    case .f16: TypeSet(.u32, .f16x2)
    case .bf16: TypeSet(.u32, .bf16x2)
    case .tf32: TypeSet(.u32, .f32)
    case .e4m3, .e5m2: TypeSet(.u32)
    }
  }
}

extension Op.Control {
  fileprivate var signatures: [Signature] {
    switch self {
    case .if, .breakIf, .continueIf: [Signature([pred])]
    case .roles, .sleep: [Signature([u32])]
    case .loop, .exit, .trap, .setMaxRegisters, .comment, .phase: [Signature([])]
    }
  }
}

func repeated(_ slot: Signature.Slot, _ count: Int) -> [Signature.Slot] {
  Array(repeating: slot, count: max(0, count))
}
