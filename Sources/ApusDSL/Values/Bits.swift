public import ApusIR

extension Value where T: IntegerScalar {
  /// Shifted left by a run-time amount; zero from the width on.
  public func shifted(left amount: Value<U32>) -> Value {
    emitter.requireOwn(amount.emitter)
    return apply(.bits(.shl), [amount.operand])
  }

  /// Shifted right by a run-time amount: zeros for unsigned, the sign for signed types.
  public func shifted(right amount: Value<U32>) -> Value {
    emitter.requireOwn(amount.emitter)
    return apply(.bits(.shr), [amount.operand])
  }

  /// The high half of the full product.
  public func multipliedHigh(by other: Value) -> Value {
    combine(.arithmetic(.mulHigh), other)
  }
}

extension Value where T == U32 {
  /// Ones in the word.
  public var populationCount: Value<U32> { apply(.bits(.popc)) }

  /// Zeros above the highest one; 32 for 0.
  public var leadingZeroCount: Value<U32> { apply(.bits(.clz)) }

  /// Bits in reverse order.
  public var bitsReversed: Value<U32> { apply(.bits(.brev)) }

  /// Bits `start`… of `length`, zeros above.
  public func bitField(start: Int, length: Int) -> Value<U32> {
    apply(.bits(.bfe), [emitter.u32(start), emitter.u32(length)])
  }

  /// Bits `start`… of `length`, zeros above; both modulo 256.
  public func bitField(start: Value<U32>, length: Value<U32>) -> Value<U32> {
    emitter.requireOwn(start.emitter)
    emitter.requireOwn(length.emitter)
    return apply(.bits(.bfe), [start.operand, length.operand])
  }

  /// This word with `length` bits from `start` on replaced by the low bits of `field`.
  public func replacingBits(start: Int, length: Int, by field: Value<U32>) -> Value<U32> {
    emitter.requireOwn(field.emitter)
    return field.apply(.bits(.bfi), [operand, emitter.u32(start), emitter.u32(length)])
  }

  /// Bytes chosen from (other:self) by a selector known now, as `prmt` says.
  public func permuted(with other: Value<U32>, selector: Int) -> Value<U32> {
    emitter.requireOwn(other.emitter)
    return apply(.bits(.prmt), [other.operand, emitter.u32(selector)])
  }

  /// Bytes chosen from (other:self): byte i is byte s, s = bits 4i…4i + 2 of the selector; bit
  /// 4i + 3 replicates its sign. PTX § prmt.
  public func permuted(with other: Value<U32>, selector: Value<U32>) -> Value<U32> {
    emitter.requireOwn(other.emitter)
    emitter.requireOwn(selector.emitter)
    return apply(.bits(.prmt), [other.operand, selector.operand])
  }

  /// The high word of (high:self) << amount. PTX § shf.l.
  public func funnelShifted(
    left amount: Value<U32>, high: Value<U32>, mode: Op.FunnelMode = .wrap
  ) -> Value<U32> {
    emitter.requireOwn(amount.emitter)
    emitter.requireOwn(high.emitter)
    return apply(.bits(.funnelShiftLeft(mode)), [high.operand, amount.operand])
  }

  /// The low word of (high:self) >> amount. PTX § shf.r.
  public func funnelShifted(
    right amount: Value<U32>, high: Value<U32>, mode: Op.FunnelMode = .wrap
  ) -> Value<U32> {
    emitter.requireOwn(amount.emitter)
    emitter.requireOwn(high.emitter)
    return apply(.bits(.funnelShiftRight(mode)), [high.operand, amount.operand])
  }

  /// Both 16-bit halves combined with those of another word, independently; sm_90a.
  public func combinedHalves(_ op: Op.Packed16, _ other: Value<U32>) -> Value<U32> {
    combine(.arithmetic(.packed16(op)), other)
  }
}

extension Value where T == S32 {
  /// Bits `start`… of `length`, the field's sign above.
  public func bitField(start: Int, length: Int) -> Value<S32> {
    apply(.bits(.bfe), [emitter.u32(start), emitter.u32(length)])
  }

  /// The full 64-bit product.
  public func multipliedWide(by other: Value<S32>) -> Value<S64> {
    combine(.arithmetic(.mulWide), other)
  }
}

extension Value where T == U64 {
  /// Ones in the word.
  public var populationCount: Value<U32> { apply(.bits(.popc)) }

  /// Zeros above the highest one; 64 for 0.
  public var leadingZeroCount: Value<U32> { apply(.bits(.clz)) }

  /// Bits in reverse order.
  public var bitsReversed: Value<U64> { apply(.bits(.brev)) }
}

/// Each bit from a table: bit (4·a + 2·b + c) of `table`; (a & b) | c is 0xEA, a ^ b ^ c is 0x96.
public func lop3(
  _ a: Value<U32>, _ b: Value<U32>, _ c: Value<U32>, table: UInt8
) -> Value<U32> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.bits(.lop3(table: table)), [b.operand, c.operand])
}

extension Value where T: ComparableScalar {
  /// Any relation; the unordered ones (`equ`… `nan`) are for floating point.
  public func compared(_ comparison: Op.Comparison, to other: Value) -> Value<Pred> {
    combine(.bits(.setp(comparison)), other)
  }
}

extension Value where T: ComparableScalar & FloatScalar {
  /// Whether the content is a NaN.
  public var isNaN: Value<Pred> { combine(.bits(.setp(.nan)), self) }
}
