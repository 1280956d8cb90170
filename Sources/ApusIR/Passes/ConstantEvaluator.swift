/// Evaluates pure ops on constants, bit for bit as `Op` defines them.
///
/// Only ops whose result is fully specified are evaluated: integers, bit patterns, comparisons,
/// exact conversions, and f32 arithmetic rounded to nearest even (Swift's `Float` does the same
/// IEEE operations). Approximations, packed arithmetic and NaN results are left to the device.
enum ConstantEvaluator {
  /// The result, or nil where it is not evaluated.
  static func evaluate(_ op: Op, _ operands: [Constant], type: ValueType) -> Constant? {
    switch op {
    case .movement(let op): movement(op, operands, type)
    case .arithmetic(let op): arithmetic(op, operands, type)
    case .bits(let op): bits(op, operands, type)
    case .conversion(let op): conversion(op, operands, type)
    default: nil
    }
  }

  private static func movement(
    _ op: Op.Movement, _ x: [Constant], _ type: ValueType
  ) -> Constant? {
    switch op {
    case .copy: x[0]
    case .select: x[0].bits == 1 ? x[1] : x[2]
    case .bitcast: Constant(type: type, bits: x[0].bits)
    case .pack:
      Constant(type: type, bits: x[0].bits | x[1].bits << UInt64(x[0].type.bitWidth))
    case .variable, .assign, .unpack: nil
    }
  }

  private static func arithmetic(
    _ op: Op.Arithmetic, _ x: [Constant], _ type: ValueType
  ) -> Constant? {
    if type == .f32 { return float(op, x) }
    guard type.isInteger else { return nil }
    let (a, b) = (x[0].bits, x.count > 1 ? x[1].bits : 0)
    func wrapped(_ bits: UInt64) -> Constant { Constant(type: type, bits: bits) }
    switch op {
    case .add: return wrapped(a &+ b)
    case .sub: return wrapped(a &- b)
    case .mul: return wrapped(a &* b)
    case .mad: return wrapped(a &* b &+ x[2].bits)
    case .mulWide, .madWide:
      guard let left = x[0].integer, let right = x[1].integer else { return nil }
      let product = UInt64(bitPattern: left &* right)
      return wrapped(op == .mulWide ? product : product &+ x[2].bits)
    case .div, .rem: return division(op, x, type)
    case .min, .max:
      guard let left = x[0].integer, let right = x[1].integer else { return nil }
      return (left <= right) == (op == .min) ? x[0] : x[1]
    case .neg: return wrapped(0 &- a)
    case .abs: return x[0].integer.map { wrapped($0 < 0 ? 0 &- a : a) }
    default: return nil
    }
  }

  private static func division(
    _ op: Op.Arithmetic, _ x: [Constant], _ type: ValueType
  ) -> Constant? {
    guard x[1].bits != 0 else { return nil }
    guard type.isSigned else {
      let (quotient, remainder) = x[0].bits.quotientAndRemainder(dividingBy: x[1].bits)
      return Constant(type: type, bits: op == .div ? quotient : remainder)
    }
    guard let left = x[0].integer, let right = x[1].integer else { return nil }
    let (quotient, overflow) = left.dividedReportingOverflow(by: right)
    return overflow ? nil : .integer(op == .div ? quotient : left % right, as: type)
  }

  private static func float(_ op: Op.Arithmetic, _ x: [Constant]) -> Constant? {
    let a = x[0].float
    let b = x.count > 1 ? x[1].float : 0
    let result: Float
    switch op {
    case .add: result = a + b
    case .sub: result = a - b
    case .mul: result = a * b
    case .fma:
      guard let exact = exactProductSum(a, b, x[2].float) else { return nil }
      result = Float(exact)
    case .div: result = a / b
    case .neg: result = -a
    case .abs: result = a.magnitude
    case .min where a != b: result = Float.minimum(a, b)
    case .max where a != b: result = Float.maximum(a, b)
    default: return nil
    }
    return result.isNaN ? nil : .f32(result)
  }

  /// a · b + c if `Double` holds it exactly, so that one rounding follows; else nil. (A call of the
  /// C library's `fmaf` would make every client link it.)
  private static func exactProductSum(_ a: Float, _ b: Float, _ c: Float) -> Double? {
    let product = Double(a) * Double(b)  // exact: 24 + 24 bits
    let sum = product + Double(c)
    let back = sum - product
    let error = (product - (sum - back)) + (Double(c) - back)  // Knuth's two-sum
    return error == 0 ? sum : nil
  }

  private static func bits(_ op: Op.Bits, _ x: [Constant], _ type: ValueType) -> Constant? {
    let a = x[0].bits
    let b = x.count > 1 ? x[1].bits : 0
    let width = UInt64(x[0].type.bitWidth)
    func value(_ bits: UInt64) -> Constant { Constant(type: type, bits: bits) }
    switch op {
    case .and: return value(a & b)
    case .or: return value(a | b)
    case .xor: return value(a ^ b)
    case .not: return value(~a)
    case .shl: return value(b >= width ? 0 : a << b)
    case .shr:
      guard type.isSigned else { return value(b >= width ? 0 : a >> b) }
      return x[0].integer.map { .integer($0 >> Int64(min(b, width - 1)), as: type) }
    case .prmt: return .u32(permute(low: x[0].low32, high: x[1].low32, selector: x[2].low32))
    case .lop3(let table):
      return .u32(lookUp(x[0].low32, x[1].low32, x[2].low32, table: table))
    case .popc: return .u32(UInt32(a.nonzeroBitCount))
    case .clz: return .u32(UInt32(UInt64(a.leadingZeroBitCount) - (64 - width)))
    case .setp(let comparison): return compare(comparison, x).map(Constant.pred)
    case .funnelShiftLeft, .funnelShiftRight, .brev, .bfe, .bfi: return nil
    }
  }

  /// The default mode of `prmt`.
  static func permute(low: UInt32, high: UInt32, selector: UInt32) -> UInt32 {
    let source = UInt64(high) << 32 | UInt64(low)
    var result: UInt32 = 0
    for index in 0..<4 {
      let control = selector >> UInt32(4 * index)
      var byte = UInt32(truncatingIfNeeded: source >> UInt64(8 * (control & 7))) & 0xFF
      if control & 8 != 0 { byte = byte & 0x80 != 0 ? 0xFF : 0 }
      result |= byte << UInt32(8 * index)
    }
    return result
  }

  /// `lop3`: bit (4a + 2b + c) of the table for each bit position.
  static func lookUp(_ a: UInt32, _ b: UInt32, _ c: UInt32, table: UInt8) -> UInt32 {
    (0..<8).reduce(0) { result, index in
      guard table >> UInt8(index) & 1 == 1 else { return result }
      return result
        | (index & 4 != 0 ? a : ~a) & (index & 2 != 0 ? b : ~b) & (index & 1 != 0 ? c : ~c)
    }
  }

  private static func compare(_ comparison: Op.Comparison, _ x: [Constant]) -> Bool? {
    if x[0].type == .f32 {
      let (a, b) = (x[0].float, x[1].float)
      guard !a.isNaN, !b.isNaN else { return nil }
      return relation(comparison, a, b)
    }
    if x[0].type == .u64 { return relation(comparison, x[0].bits, x[1].bits) }
    guard let a = x[0].integer, let b = x[1].integer else { return nil }
    return relation(comparison, a, b)
  }

  private static func relation<T: Comparable>(
    _ comparison: Op.Comparison, _ a: T, _ b: T
  ) -> Bool? {
    switch comparison {
    case .eq: a == b
    case .ne: a != b
    case .lt: a < b
    case .le: a <= b
    case .gt: a > b
    case .ge: a >= b
    case .equ, .neu, .ltu, .leu, .gtu, .geu, .num, .nan: nil
    }
  }

  private static func conversion(
    _ op: Op.Conversion, _ x: [Constant], _ type: ValueType
  ) -> Constant? {
    switch op {
    case .integer:
      x[0].type == .u64
        ? Constant(type: type, bits: x[0].bits) : x[0].integer.map { .integer($0, as: type) }
    case .integerToFloat:
      x[0].type == .u64 ? .f32(Float(x[0].bits)) : x[0].integer.map { .f32(Float($0)) }
    default: nil
    }
  }
}
