public import ApusIR

extension Value where T == F16 {
  /// This element in the low half and `high` in the high half.
  public func packed(high: Value<F16>) -> Value<F16x2> { combine(.movement(.pack), high) }
}

extension Value where T == BF16 {
  /// This element in the low half and `high` in the high half.
  public func packed(high: Value<BF16>) -> Value<BF16x2> { combine(.movement(.pack), high) }
}

extension Value where T == U16 {
  /// The word with this low and `high` high half: four FP8 codes from two pairs.
  public func packed(high: Value<U16>) -> Value<U32> { combine(.movement(.pack), high) }

  /// The bits extended by zeros to 64.
  public func converted(to type: U64.Type) -> Value<U64> { apply(.conversion(.integer)) }
}

extension Value where T == U32 {
  /// The two 16-bit halves.
  public var halves: (low: Value<U16>, high: Value<U16>) {
    let halves: [Value<U16>] = emitter.values(
      .movement(.unpack), [operand], count: 2, at: emitter.pending)
    return (halves[0], halves[1])
  }

  /// Four FP8 codes, the first in the low byte, as binary16; exact. Before sm_89 by bit tricks.
  public func converted(
    to type: F16x2.Type, from format: Op.FP8Format
  ) -> (low: Value<F16x2>, high: Value<F16x2>) {
    let (low, high) = halves
    return (low.converted(to: type, from: format), high.converted(to: type, from: format))
  }
}

extension Value where T == F16x2 {
  /// Two FP8 codes, the low element's in the low byte; nearest even, clamped to finite values.
  public func converted(to format: Op.FP8Format) -> Value<U16> {
    apply(.conversion(.narrowFP8(format)))
  }

  /// Both elements in binary32; exact.
  public var floats: (low: Value<F32>, high: Value<F32>) {
    let (low, high) = halves
    return (low.converted(to: F32.self), high.converted(to: F32.self))
  }
}

extension Value where T == BF16x2 {
  /// Both elements in binary32; exact.
  public var floats: (low: Value<F32>, high: Value<F32>) {
    let (low, high) = halves
    return (low.converted(to: F32.self), high.converted(to: F32.self))
  }
}
