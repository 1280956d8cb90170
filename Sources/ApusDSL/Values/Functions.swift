import ApusIR

/// The smaller; of a NaN and a number the number.
public func min<T: NumberScalar>(_ a: Value<T>, _ b: Value<T>) -> Value<T> {
  a.combine(.arithmetic(.min), b)
}

/// The larger; of a NaN and a number the number.
public func max<T: NumberScalar>(_ a: Value<T>, _ b: Value<T>) -> Value<T> {
  a.combine(.arithmetic(.max), b)
}

/// a · b + c, rounded once.
public func fma<T: FloatScalar>(_ a: Value<T>, _ b: Value<T>, _ c: Value<T>) -> Value<T> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.arithmetic(.fma), [b.operand, c.operand])
}

/// `a` where `condition`, else `b`; both are computed.
public func select<T: DataScalar>(
  _ condition: Value<Pred>, _ a: Value<T>, _ b: Value<T>
) -> Value<T> {
  condition.emitter.requireOwn(a.emitter)
  condition.emitter.requireOwn(b.emitter)
  return condition.apply(.movement(.select), [a.operand, b.operand])
}

/// |a|.
public func abs<T: SignedScalar>(_ a: Value<T>) -> Value<T> { a.apply(.arithmetic(.abs)) }

/// 2^a, approximate; error bounds at `Op.ApproximateFunction`.
public func ex2<T: FloatScalar>(_ a: Value<T>) -> Value<T> {
  a.apply(.arithmetic(.approximate(.ex2)))
}

/// tanh a, approximate.
public func tanh<T: FloatScalar>(_ a: Value<T>) -> Value<T> {
  a.apply(.arithmetic(.approximate(.tanh)))
}

/// log₂ a, approximate.
public func lg2(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.lg2))) }

/// 1 ÷ a, approximate.
public func rcp(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.rcp))) }

/// 1 ÷ √a, approximate.
public func rsqrt(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.rsqrt))) }

/// √a, approximate.
public func sqrt(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.sqrt))) }

/// sin a, approximate; radians.
public func sin(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.sin))) }

/// cos a, approximate; radians.
public func cos(_ a: Value<F32>) -> Value<F32> { a.apply(.arithmetic(.approximate(.cos))) }

/// a ÷ b correctly rounded; a subroutine, so not for kernels with warpgroup products.
public func div(_ a: Value<F32>, _ b: Value<F32>) -> Value<F32> {
  a.combine(.arithmetic(.div), b)
}

/// a · b + c modulo 2^width.
public func mad<T: IntegerScalar>(_ a: Value<T>, _ b: Value<T>, _ c: Value<T>) -> Value<T> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.arithmetic(.mad), [b.operand, c.operand])
}

extension Value where T == U32 {
  /// The full 64-bit product.
  public func multipliedWide(by other: Value<U32>) -> Value<U64> {
    combine(.arithmetic(.mulWide), other)
  }
}
