import ApusIR

extension Machine {
  func execute(_ op: Op.Arithmetic, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .mulWide, .madWide: return wide(op, i, warp)
    case .packed16(let packed): return execute(packed, i, warp)
    default: break
    }
    switch i.inputs[0].type {
    case .u32: return integer(op, UInt32.self, i, warp)
    case .s32: return integer(op, Int32.self, i, warp)
    case .u64: return integer(op, UInt64.self, i, warp)
    case .s64: return integer(op, Int64.self, i, warp)
    case .f32: return float(op, i, warp)
    case .f16, .bf16, .f16x2, .bf16x2: return half(op, i, warp)
    case .pred, .u16: return unsupported(warp)
    }
  }

  private func integer<T: FixedWidthInteger & BitwiseCopyable>(
    _ op: Op.Arithmetic, _: T.Type, _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    switch op {
    case .add: warp.map(i) { (a: T, b: T) in a &+ b }
    case .sub: warp.map(i) { (a: T, b: T) in a &- b }
    case .mul: warp.map(i) { (a: T, b: T) in a &* b }
    case .mulHigh: warp.map(i) { (a: T, b: T) in a.multipliedFullWidth(by: b).high }
    case .mad: warp.map(i) { (a: T, b: T, c: T) in a &* b &+ c }
    // Division by 0 is unspecified: all ones, as GPUs give for unsigned operands.
    case .div: warp.map(i) { (a: T, b: T) in b == 0 ? ~0 : a.dividedReportingOverflow(by: b).0 }
    case .rem:
      warp.map(i) { (a: T, b: T) in
        b == 0 ? ~0 : a.remainderReportingOverflow(dividingBy: b).partialValue
      }
    case .min: warp.map(i) { (a: T, b: T) in Swift.min(a, b) }
    case .max: warp.map(i) { (a: T, b: T) in Swift.max(a, b) }
    case .neg: warp.map(i) { (a: T) in 0 &- a }
    case .abs: warp.map(i) { (a: T) in a < 0 ? 0 &- a : a }
    default: return unsupported(warp)
    }
    return .next
  }

  private func wide(_ op: Op.Arithmetic, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch (op, i.inputs[0].type) {
    case (.mulWide, .u32): warp.map(i) { (a: UInt32, b: UInt32) in UInt64(a) &* UInt64(b) }
    case (.mulWide, _): warp.map(i) { (a: Int32, b: Int32) in Int64(a) &* Int64(b) }
    case (_, .u32):
      warp.map(i) { (a: UInt32, b: UInt32, c: UInt64) in UInt64(a) &* UInt64(b) &+ c }
    default: warp.map(i) { (a: Int32, b: Int32, c: Int64) in Int64(a) &* Int64(b) &+ c }
    }
    return .next
  }

  private func float(_ op: Op.Arithmetic, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .add: warp.map(i) { (a: Float, b: Float) in a + b }
    case .sub: warp.map(i) { (a: Float, b: Float) in a - b }
    case .mul: warp.map(i) { (a: Float, b: Float) in a * b }
    case .fma: fma(i, warp)
    case .addRounded(let rounding):
      warp.map(i) { (a: Float, b: Float) in FloatMath.add(a, b, rounding) }
    case .mulRounded(let rounding):
      warp.map(i) { (a: Float, b: Float) in FloatMath.multiply(a, b, rounding) }
    case .fmaRounded(let rounding):
      warp.map(i) { (a: Float, b: Float, c: Float) in FloatMath.fma(a, b, c, rounding) }
    case .div: warp.map(i) { (a: Float, b: Float) in a / b }
    case .min, .max, .minNaN, .maxNaN:
      let isMax = op == .max || op == .maxNaN
      let propagates = op == .minNaN || op == .maxNaN
      warp.map(i) { (a: Float, b: Float) in
        FloatMath.extremum(a, b, isMax: isMax, propagatesNaN: propagates)
      }
    case .neg: warp.map(i) { (a: UInt32) in a ^ 0x8000_0000 }
    case .abs: warp.map(i) { (a: UInt32) in a & 0x7FFF_FFFF }
    case .approximate(let function):
      warp.map(i) { (a: Float) in FloatMath.approximate(function, a) }
    default: return unsupported(warp)
    }
    return .next
  }

  /// The product is exact in binary64, so its sum with c, rounded to binary64 and then to binary32,
  /// is the fused result unless the first rounding hit the midpoint of two binary32 numbers or the
  /// result is subnormal, infinite or not a number: those lanes take the slow road. Without a fused
  /// instruction in the baseline of x86-64 this is several times faster than 32 library calls.
  private func fma(_ i: Code.Instruction, _ warp: Warp) {
    guard warp.mask == .max else {
      return warp.map(i) { (a: Float, b: Float, c: Float) in c.addingProduct(a, b) }
    }
    let a = UnsafeRawPointer(warp.words(i.inputs[0])).assumingMemoryBound(to: Float.self)
    let b = UnsafeRawPointer(warp.words(i.inputs[1])).assumingMemoryBound(to: Float.self)
    let c = UnsafeRawPointer(warp.words(i.inputs[2])).assumingMemoryBound(to: Float.self)
    let result = scratch.d
    var isSlow: UInt64 = 0
    for lane in 0..<warpSize {
      let sum = Double(a[lane]) * Double(b[lane]) + Double(c[lane])
      result[lane] = Float(sum)
      isSlow |= Self.needsFusedAdd(sum)
    }
    if isSlow >> 63 != 0 {
      for lane in 0..<warpSize {
        let sum = Double(a[lane]) * Double(b[lane]) + Double(c[lane])
        if Self.needsFusedAdd(sum) >> 63 != 0 {
          result[lane] = c[lane].addingProduct(a[lane], b[lane])
        }
      }
    }
    UnsafeMutableRawPointer(warp.words(i.outputs[0])).copyMemory(
      from: result, byteCount: 4 * warpSize)
  }

  /// Top bit set where rounding a binary64 sum again may differ from rounding the exact one: a
  /// midpoint, or an exponent outside that of 0 and normal binary32 numbers. Arithmetic in place of
  /// comparisons, so that the loop over the lanes becomes vector code.
  @inline(__always)
  private static func needsFusedAdd(_ sum: Double) -> UInt64 {
    let bits = sum.bitPattern
    let isMidpoint = ((bits & 0x1FFF_FFFF) ^ 0x1000_0000) &- 1
    let exponent = (bits >> 52 & 0x7FF) &- 897
    let magnitude = bits << 1
    let isZero = ~magnitude & (magnitude &- 1)
    return (isMidpoint | (252 &- exponent) | exponent) & ~isZero
  }

  /// Scalar and packed f16 and bf16.
  private func half(_ op: Op.Arithmetic, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    let type = i.inputs[0].type
    let element: (UInt32, UInt32, UInt32) -> UInt32
    func value(_ bits: UInt32) -> Double { Double(FloatMath.widen(bits, type)) }
    switch op {
    case .add: element = { a, b, _ in FloatMath.narrow(FloatMath.oddSum(value(a), value(b)), type) }
    case .sub:
      element = { a, b, _ in FloatMath.narrow(FloatMath.oddSum(value(a), -value(b)), type) }
    case .mul: element = { a, b, _ in FloatMath.narrow(value(a) * value(b), type) }
    case .fma:
      element = { a, b, c in
        FloatMath.narrow(FloatMath.oddSum(value(a) * value(b), value(c)), type)
      }
    case .min, .max, .minNaN, .maxNaN:
      let isMax = op == .max || op == .maxNaN
      let propagates = op == .minNaN || op == .maxNaN
      element = { a, b, _ in
        FloatMath.narrow(
          Double(
            FloatMath.extremum(
              FloatMath.widen(a, type), FloatMath.widen(b, type), isMax: isMax,
              propagatesNaN: propagates)), type)
      }
    case .neg: element = { a, _, _ in a ^ 0x8000 }
    case .abs: element = { a, _, _ in a & 0x7FFF }
    case .approximate(let function) where function == .ex2 || function == .tanh:
      element = { a, _, _ in
        FloatMath.narrow(
          FloatMath.approximate16(
            function, FloatMath.widen(a, type), isBrain: type.elementType == .bf16), type)
      }
    default: return unsupported(warp)
    }
    warp.forEachLane { lane in
      let a = warp.get32(i.inputs[0], lane)
      let b = i.inputs.count > 1 ? warp.get32(i.inputs[1], lane) : 0
      let c = i.inputs.count > 2 ? warp.get32(i.inputs[2], lane) : 0
      var result = element(a & 0xFFFF, b & 0xFFFF, c & 0xFFFF)
      if type.isPacked { result |= element(a >> 16, b >> 16, c >> 16) << 16 }
      warp.set(i.outputs[0], lane, UInt64(result))
    }
    return .next
  }

  private func execute(
    _ op: Op.Packed16, _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    func signed(_ half: UInt32) -> Int16 { Int16(truncatingIfNeeded: half) }
    func element(_ a: UInt32, _ b: UInt32) -> UInt32 {
      switch op {
      case .maxUnsigned: Swift.max(a, b)
      case .minUnsigned: Swift.min(a, b)
      case .maxSigned: signed(a) > signed(b) ? a : b
      case .minSigned: signed(a) < signed(b) ? a : b
      case .add: (a &+ b) & 0xFFFF
      }
    }
    warp.map(i) { (a: UInt32, b: UInt32) in
      element(a & 0xFFFF, b & 0xFFFF) | element(a >> 16, b >> 16) << 16
    }
    return .next
  }
}
