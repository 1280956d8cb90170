public import ApusIR

extension Value where T: IntegerScalar {
  /// The same number in another integer type: extended by zeros or the sign, or cut to its low
  /// bits.
  public func converted<R: IntegerScalar>(to type: R.Type) -> Value<R> {
    apply(.conversion(.integer))
  }

  /// The nearest binary32 value.
  public func converted(to type: F32.Type) -> Value<F32> { apply(.conversion(.integerToFloat)) }
}

extension Value where T == U16 {
  /// The bits extended by zeros.
  public func converted(to type: U32.Type) -> Value<U32> { apply(.conversion(.integer)) }

  /// Two FP8 codes, the first in the low byte, as binary16; exact.
  public func converted(to type: F16x2.Type, from format: Op.FP8Format) -> Value<F16x2> {
    apply(.conversion(.widenFP8(format)))
  }
}

extension Value where T == U32 {
  /// The low 16 bits.
  public func converted(to type: U16.Type) -> Value<U16> { apply(.conversion(.integer)) }
}

extension Value where T == F32 {
  /// The integer, rounded as said and clamped to the type; NaN gives 0.
  public func converted<R: IntegerScalar>(
    to type: R.Type, rounding: Op.Rounding
  ) -> Value<R> {
    apply(.conversion(.floatToInteger(rounding)))
  }

  /// The nearest integer value in the direction, still binary32.
  public func rounded(_ rounding: Op.Rounding) -> Value<F32> {
    apply(.conversion(.roundToInteger(rounding)))
  }

  /// The nearest binary16 value; beyond the range ±∞.
  public func converted(to type: F16.Type) -> Value<F16> { apply(.conversion(.narrow)) }

  /// The nearest bfloat16 value; beyond the range ±∞.
  public func converted(to type: BF16.Type) -> Value<BF16> { apply(.conversion(.narrow)) }

  /// This value in the low half and `high` in the high half, rounded to nearest even.
  public func converted<R: PairScalar>(
    to type: R.Type, high: Value<F32>
  ) -> Value<R> {
    combine(.conversion(.narrowPair), high)
  }

  /// Two FP8 codes, this value's in the low byte; nearest even, clamped to finite values.
  public func converted(to format: Op.FP8Format, high: Value<F32>) -> Value<U16> {
    combine(.conversion(.narrowFP8(format)), high)
  }

  /// The pattern rounded to TF32, ties away from zero.
  public var tf32: Value<U32> { apply(.conversion(.tf32)) }
}

extension Value where T == F16 {
  /// The same number in binary32.
  public func converted(to type: F32.Type) -> Value<F32> { apply(.conversion(.widen)) }
}

extension Value where T == BF16 {
  /// The same number in binary32.
  public func converted(to type: F32.Type) -> Value<F32> { apply(.conversion(.widen)) }
}

extension Value where T == F16x2 {
  /// The two elements.
  public var halves: (low: Value<F16>, high: Value<F16>) { split() }
}

extension Value where T == BF16x2 {
  /// The two elements.
  public var halves: (low: Value<BF16>, high: Value<BF16>) { split() }
}

extension Value where T == U64 {
  /// The two words.
  public var words: (low: Value<U32>, high: Value<U32>) { split() }
}

extension Value where T == U32 {
  /// The 64-bit word with this low and `high` high half.
  public func packed(high: Value<U32>) -> Value<U64> { combine(.movement(.pack), high) }
}

extension Value where T: DataScalar {
  /// The same bits as another type of the same width.
  public func bitcast<R: DataScalar>(to type: R.Type) -> Value<R> {
    if T.type.bitWidth != R.type.bitWidth {
      emitter.fail("bitcast: widths must agree; found \(T.type) and \(R.type).")
    }
    return apply(.movement(.bitcast))
  }

  fileprivate func split<H: DataScalar>() -> (low: Value<H>, high: Value<H>) {
    let halves: [Value<H>] = emitter.values(
      .movement(.unpack), [operand], count: 2, at: emitter.pending)
    return (halves[0], halves[1])
  }
}
