public import ApusIR

/// a + b rounded in a direction; never contracted with a product.
public func add(_ a: Value<F32>, _ b: Value<F32>, rounding: Op.Rounding) -> Value<F32> {
  a.combine(.arithmetic(.addRounded(rounding)), b)
}

/// a · b rounded in a direction; never contracted with a sum.
public func mul(_ a: Value<F32>, _ b: Value<F32>, rounding: Op.Rounding) -> Value<F32> {
  a.combine(.arithmetic(.mulRounded(rounding)), b)
}

/// a · b + c, rounded once in a direction.
public func fma(
  _ a: Value<F32>, _ b: Value<F32>, _ c: Value<F32>, rounding: Op.Rounding
) -> Value<F32> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.arithmetic(.fmaRounded(rounding)), [b.operand, c.operand])
}

/// a · b + c, rounded once; factor and summand are literals.
public func fma<T: FloatScalar>(_ a: Value<T>, _ b: Value<T>, _ c: T.Literal) -> Value<T> {
  fma(a, b, Value(operand: a.emitter.constant(c, as: T.self), emitter: a.emitter))
}

/// a · b + c, rounded once; the factor is a literal.
public func fma<T: FloatScalar>(_ a: Value<T>, _ b: T.Literal, _ c: Value<T>) -> Value<T> {
  fma(a, Value(operand: a.emitter.constant(b, as: T.self), emitter: a.emitter), c)
}

/// The smaller of a value and a literal.
public func min<T: NumberScalar>(_ a: Value<T>, _ b: T.Literal) -> Value<T> {
  a.literal(.arithmetic(.min), b)
}

/// The larger of a value and a literal.
public func max<T: NumberScalar>(_ a: Value<T>, _ b: T.Literal) -> Value<T> {
  a.literal(.arithmetic(.max), b)
}

/// The full product of a and b, plus c modulo 2^64: offsets beyond 4 GiB in one instruction.
public func madWide(_ a: Value<U32>, _ b: Value<U32>, _ c: Value<U64>) -> Value<U64> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.arithmetic(.madWide), [b.operand, c.operand])
}

/// The full product of a and b, plus c modulo 2^64.
public func madWide(_ a: Value<S32>, _ b: Value<S32>, _ c: Value<S64>) -> Value<S64> {
  a.emitter.requireOwn(b.emitter)
  a.emitter.requireOwn(c.emitter)
  return a.apply(.arithmetic(.madWide), [b.operand, c.operand])
}
