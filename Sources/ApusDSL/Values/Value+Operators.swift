import ApusIR

// One generic overload for values and one for literals per operator: more would slow the type
// checker on the long sums of kernels.

extension Value where T: NumberScalar {
  func literal<R: Scalar>(_ op: Op, _ literal: T.Literal) -> Value<R> {
    apply(op, [emitter.constant(literal, as: T.self)])
  }

  /// a + b; integers wrap.
  public static func + (a: Value, b: Value) -> Value { a.combine(.arithmetic(.add), b) }
  /// a + literal.
  public static func + (a: Value, b: T.Literal) -> Value { a.literal(.arithmetic(.add), b) }
  /// a − b; integers wrap.
  public static func - (a: Value, b: Value) -> Value { a.combine(.arithmetic(.sub), b) }
  /// a − literal.
  public static func - (a: Value, b: T.Literal) -> Value { a.literal(.arithmetic(.sub), b) }
  /// a · b; integers keep the low half.
  public static func * (a: Value, b: Value) -> Value { a.combine(.arithmetic(.mul), b) }
  /// a · literal.
  public static func * (a: Value, b: T.Literal) -> Value { a.literal(.arithmetic(.mul), b) }
}

extension Value where T: IntegerScalar {
  /// a ÷ b, truncated towards zero; unspecified for b = 0.
  public static func / (a: Value, b: Value) -> Value { a.combine(.arithmetic(.div), b) }
  /// a ÷ literal, truncated towards zero.
  public static func / (a: Value, b: Int) -> Value { a.literal(.arithmetic(.div), b) }
  /// The remainder of a ÷ b, with the sign of a.
  public static func % (a: Value, b: Value) -> Value { a.combine(.arithmetic(.rem), b) }
  /// The remainder of a ÷ literal.
  public static func % (a: Value, b: Int) -> Value { a.literal(.arithmetic(.rem), b) }
  /// Bits shifted left by n ≥ 0.
  public static func << (a: Value, n: Int) -> Value {
    a.apply(.bits(.shl), [a.emitter.u32(n)])
  }
  /// Bits shifted right by n ≥ 0: zeros for unsigned, the sign for signed types.
  public static func >> (a: Value, n: Int) -> Value {
    a.apply(.bits(.shr), [a.emitter.u32(n)])
  }
  /// Bitwise AND with a literal.
  public static func & (a: Value, b: Int) -> Value { a.literal(.bits(.and), b) }
  /// Bitwise OR with a literal.
  public static func | (a: Value, b: Int) -> Value { a.literal(.bits(.or), b) }
  /// Bitwise XOR with a literal.
  public static func ^ (a: Value, b: Int) -> Value { a.literal(.bits(.xor), b) }
}

extension Value where T: SignedScalar {
  /// −a.
  public static prefix func - (a: Value) -> Value { a.apply(.arithmetic(.neg)) }
}

extension Value where T: BitScalar {
  /// Bitwise AND.
  public static func & (a: Value, b: Value) -> Value { a.combine(.bits(.and), b) }
  /// Bitwise OR.
  public static func | (a: Value, b: Value) -> Value { a.combine(.bits(.or), b) }
  /// Bitwise XOR.
  public static func ^ (a: Value, b: Value) -> Value { a.combine(.bits(.xor), b) }
  /// Bitwise complement.
  public static prefix func ~ (a: Value) -> Value { a.apply(.bits(.not)) }
}

extension Value where T == Pred {
  /// Logical complement.
  public static prefix func ! (a: Value) -> Value { a.apply(.bits(.not)) }
}

extension Value where T: ComparableScalar {
  /// a = b; false if one is NaN.
  public static func == (a: Value, b: Value) -> Value<Pred> { a.combine(.bits(.setp(.eq)), b) }
  /// a = literal.
  public static func == (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(.eq)), b)
  }
  /// a ≠ b; of floating-point values true if one is NaN, as IEEE 754 says.
  public static func != (a: Value, b: Value) -> Value<Pred> {
    a.combine(.bits(.setp(T.type.isFloat ? .neu : .ne)), b)
  }
  /// a ≠ literal.
  public static func != (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(T.type.isFloat ? .neu : .ne)), b)
  }
  /// a < b; false if one is NaN.
  public static func < (a: Value, b: Value) -> Value<Pred> { a.combine(.bits(.setp(.lt)), b) }
  /// a < literal.
  public static func < (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(.lt)), b)
  }
  /// a ≤ b; false if one is NaN.
  public static func <= (a: Value, b: Value) -> Value<Pred> { a.combine(.bits(.setp(.le)), b) }
  /// a ≤ literal.
  public static func <= (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(.le)), b)
  }
  /// a > b; false if one is NaN.
  public static func > (a: Value, b: Value) -> Value<Pred> { a.combine(.bits(.setp(.gt)), b) }
  /// a > literal.
  public static func > (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(.gt)), b)
  }
  /// a ≥ b; false if one is NaN.
  public static func >= (a: Value, b: Value) -> Value<Pred> { a.combine(.bits(.setp(.ge)), b) }
  /// a ≥ literal.
  public static func >= (a: Value, b: T.Literal) -> Value<Pred> {
    a.literal(.bits(.setp(.ge)), b)
  }
}
