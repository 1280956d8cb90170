import ApusIR
import ApusNumerics
import ApusSimulator
import ApusTestSupport
import Testing

@Suite struct ArithmeticTests {
  /// Compares an op of two u32 operands with a scalar function.
  private func check(
    _ name: String, _ op: Op, _ type: ValueType, seed: UInt64, count: Int = 2,
    result: ValueType? = nil, _ oracle: (UInt64, UInt64, UInt64) -> UInt64
  ) {
    var random = SplitMix64(seed: seed)
    let columns = (0..<count).map { _ in (type, patterns(type, count: 256, &random)) }
    let found = evaluate(op, columns, results: [result ?? type])[0]
    var mismatches = Mismatches()
    for row in 0..<256 {
      let x = columns.map { $0.1[row] } + [0, 0]
      let expected = oracle(x[0], x[1], x[2])
      mismatches.check(
        found[row] == expected,
        "\(name) \(type) seed \(seed) \(x): found \(found[row]), expected \(expected)")
    }
    mismatches.expectNone()
  }

  private func u(_ x: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: x) }
  private func s(_ x: UInt64) -> Int32 { Int32(truncatingIfNeeded: x) }
  private func f(_ x: UInt64) -> Float { Float(bitPattern: u(x)) }
  private func bits(_ x: Int32) -> UInt64 { UInt64(UInt32(bitPattern: x)) }
  /// NaNs of any payload are one value.
  private func bits(_ x: Float) -> UInt64 { UInt64(x.bitPattern) }

  @Test func `32-bit integers`() {
    check("add", .arithmetic(.add), .u32, seed: 1) { UInt64(u($0) &+ u($1)) | $2 }
    check("sub", .arithmetic(.sub), .u32, seed: 2) { UInt64(u($0) &- u($1)) | $2 }
    check("mul", .arithmetic(.mul), .u32, seed: 3) { UInt64(u($0) &* u($1)) | $2 }
    check("mulhi", .arithmetic(.mulHigh), .u32, seed: 4) { a, b, _ in (a * b) >> 32 }
    check("mad", .arithmetic(.mad), .u32, seed: 5, count: 3) {
      UInt64(u($0) &* u($1) &+ u($2))
    }
    check("min", .arithmetic(.min), .s32, seed: 6) { a, b, _ in bits(min(s(a), s(b))) }
    check("max", .arithmetic(.max), .s32, seed: 7) { a, b, _ in bits(max(s(a), s(b))) }
    check("abs", .arithmetic(.abs), .s32, seed: 8, count: 1) { a, _, _ in
      UInt64(s(a).magnitude)
    }
    check("wide", .arithmetic(.mulWide), .u32, seed: 9, result: .u64) { a, b, _ in a * b }
    check("wide", .arithmetic(.mulWide), .s32, seed: 10, result: .s64) { a, b, _ in
      UInt64(bitPattern: Int64(s(a)) * Int64(s(b)))
    }
  }

  @Test func `division truncates and the remainder has the sign of the dividend`() {
    var random = SplitMix64(seed: 11)
    let a = patterns(.s32, count: 256, &random)
    let b = patterns(.s32, count: 256, &random).map { $0 == 0 ? 3 : $0 }
    let quotient = evaluate(.arithmetic(.div), [(.s32, a), (.s32, b)], results: [.s32])[0]
    let rest = evaluate(.arithmetic(.rem), [(.s32, a), (.s32, b)], results: [.s32])[0]
    for row in 0..<256 {
      let exact = Int64(s(a[row])) / Int64(s(b[row]))
      expectEqual(quotient[row], UInt64(truncatingIfNeeded: exact) & 0xFFFF_FFFF)
      expectEqual(rest[row], bits(Int32(Int64(s(a[row])) % Int64(s(b[row])))))
    }
  }

  @Test func `64-bit integers`() {
    check("add", .arithmetic(.add), .u64, seed: 12) { a, b, _ in a &+ b }
    check("mul", .arithmetic(.mul), .s64, seed: 13) { a, b, _ in a &* b }
    check("mulhi", .arithmetic(.mulHigh), .u64, seed: 14) { a, b, _ in
      a.multipliedFullWidth(by: b).high
    }
  }

  @Test func `f32 follows IEEE 754`() {
    func same(_ x: Float) -> UInt64 { x.isNaN ? bits(Float.nan) : bits(x) }
    for (seed, op, oracle) in [
      (20, Op.Arithmetic.add, { (a: Float, b: Float) in a + b }),
      (21, .sub, { (a: Float, b: Float) in a - b }), (22, .mul, { (a: Float, b: Float) in a * b }),
      (23, .div, { (a: Float, b: Float) in a / b }),
    ] as [(UInt64, Op.Arithmetic, (Float, Float) -> Float)] {
      var random = SplitMix64(seed: seed)
      let a = patterns(.f32, count: 256, &random)
      let b = patterns(.f32, count: 256, &random)
      let found = evaluate(.arithmetic(op), [(.f32, a), (.f32, b)], results: [.f32])[0]
      for row in 0..<256 {
        expectEqual(same(f(found[row])), same(oracle(f(a[row]), f(b[row]))), "seed \(seed)")
      }
    }
  }

  @Test func `directed roundings bracket the exact sum and differ by at most one step`() {
    var random = SplitMix64(seed: 30)
    let a = (0..<256).map { _ in bits(Float.random(in: -4...4, using: &random)) }
    let b = (0..<256).map { _ in bits(Float.random(in: -4...4, using: &random) * 0x1p-9) }
    func column(_ rounding: Op.Rounding) -> [Float] {
      evaluate(.arithmetic(.addRounded(rounding)), [(.f32, a), (.f32, b)], results: [.f32])[0]
        .map(f)
    }
    let (down, up) = (column(.down), column(.up))
    let (zero, even) = (column(.towardZero), column(.nearestEven))
    for row in 0..<256 {
      let exact = Double(f(a[row])) + Double(f(b[row]))  // exact: exponents are close
      expect(Double(down[row]) <= exact && exact <= Double(up[row]), "row \(row)")
      expect(down[row] == up[row] || down[row].nextUp == up[row], "row \(row)")
      expectEqual(zero[row], exact < 0 ? up[row] : down[row], "row \(row)")
      expectEqual(even[row], Float(exact), "row \(row)")
    }
  }

  @Test func `minimum orders zeros and drops or keeps NaN`() {
    let nan = UInt64(Float.nan.bitPattern)
    let columns: [(type: ValueType, bits: [UInt64])] = [
      (.f32, padded([0, nan, nan, 0x8000_0000])), (.f32, padded([0x8000_0000, 0, nan, 0])),
    ]
    let low = evaluate(.arithmetic(.min), columns, results: [.f32])[0]
    let high = evaluate(.arithmetic(.max), columns, results: [.f32])[0]
    let strict = evaluate(.arithmetic(.minNaN), columns, results: [.f32])[0]
    #expect(low[0] == 0x8000_0000 && low[1] == 0 && low[3] == 0x8000_0000)
    #expect(high[0] == 0 && high[3] == 0)
    #expect(f(low[2]).isNaN && f(strict[1]).isNaN)
  }

  private func padded(_ x: [UInt64]) -> [UInt64] { x + Array(repeating: 0, count: 32 - x.count) }

  @Test func `16-bit floats round once`() {
    for (seed, type) in [(40, ValueType.f16), (41, .bf16)] as [(UInt64, ValueType)] {
      var random = SplitMix64(seed: seed)
      let columns = (0..<3).map { _ in (type, patterns(type, count: 256, &random)) }
      func wide(_ x: UInt64) -> Float {
        type == .f16
          ? Half(bitPattern: UInt16(x)).float : BFloat16(bitPattern: UInt16(x)).float
      }
      func code(_ x: Double) -> UInt64 {
        type == .f16
          ? UInt64(Half(x, overflow: .nonSaturating).bitPattern)
          : UInt64(BFloat16(x, overflow: .nonSaturating).bitPattern)
      }
      let product = evaluate(.arithmetic(.mul), Array(columns[..<2]), results: [type])[0]
      let fused = evaluate(.arithmetic(.fma), columns, results: [type])[0]
      for row in 0..<256 {
        let (a, b, c) = (
          Double(wide(columns[0].1[row])), Double(wide(columns[1].1[row])),
          Double(wide(columns[2].1[row]))
        )
        if !(a * b).isNaN { expectEqual(product[row], code(a * b), "seed \(seed)") }
        // Where the sum is exact in f64 one rounding follows; the others are in between.
        let sum = a * b + c
        if !sum.isNaN, sum - a * b == c, sum - c == a * b {
          expectEqual(fused[row], code(sum), "seed \(seed)")
        }
      }
    }
  }

  @Test func `fused products round once, at midpoints and at the ends of the range too`() {
    var random = SplitMix64(seed: 45)
    var rows: [(Float, Float, Float)] = []
    for _ in 0..<512 {
      // A product of 24 + k bits and an addend that puts it next to a midpoint of two floats.
      let a = Float(
        bitPattern: 0x3F80_0001 | UInt32(truncatingIfNeeded: random.next() % 0x1000) << 11)
      let b = Float(
        bitPattern: 0x3F80_0001 | UInt32(truncatingIfNeeded: random.next() % 0x1000) << 11)
      let tiny = Float(sign: random.next() % 2 == 0 ? .plus : .minus, exponent: -60, significand: 1)
      rows.append((a, b, tiny))
      rows.append((a, 1 + 0x1p-23, random.next() % 2 == 0 ? 0x1p-24 : -0x1p-24 * (1 + 0x1p-23)))
      rows.append((a * 0x1p-120, b * 0x1p-20, tiny * 0x1p-70))
      rows.append((a * 0x1p64, b * 0x1p63, -tiny))
      rows.append((a, b, -(a * b)))
      rows.append((a, -0.0, 0))
      rows.append((Float(bitPattern: UInt32(truncatingIfNeeded: random.next())), b, .infinity))
      rows.append((.infinity, 0, a))
    }
    var mismatches = Mismatches()
    for start in stride(from: 0, to: rows.count, by: 512) {
      let part = rows[start..<start + 512]
      let found = evaluate(
        .arithmetic(.fma),
        [
          (.f32, part.map { bits($0.0) }), (.f32, part.map { bits($0.1) }),
          (.f32, part.map { bits($0.2) }),
        ], results: [.f32])[0]
      for (row, result) in zip(part, found) {
        let exact = row.2.addingProduct(row.0, row.1)
        mismatches.check(
          exact.isNaN ? f(result).isNaN : bits(exact) == result,
          "fma\(row) = \(f(result)), expected \(exact)")
      }
    }
    mismatches.expectNone()
  }

  @Test func `every binary16 pattern has its value`() {
    var mismatches = Mismatches()
    for code in UInt16.min...UInt16.max {
      let (found, exact) = (MatrixMath.half(UInt32(code)), Half(bitPattern: code).float)
      mismatches.check(
        exact.isNaN ? found.isNaN : found.bitPattern == exact.bitPattern, "\(code): \(found)")
    }
    mismatches.expectNone()
  }

  @Test func `narrowing agrees with the number types`() {
    var random = SplitMix64(seed: 46)
    var mismatches = Mismatches()
    for _ in 0..<30_000 {
      let raw = UInt32(truncatingIfNeeded: random.next())
      // Any value, one in the range of binary16, and midpoints of both types.
      let near = raw & 0x8FFF_FFFF | 0x3000_0000
      for pattern in [raw, near, near & ~0x1FFF | 0x1000, near & ~0xFFFF | 0x8000] {
        let value = Float(bitPattern: pattern)
        let half = UInt32(Half(value, overflow: .nonSaturating).bitPattern)
        let brain = UInt32(BFloat16(value, overflow: .nonSaturating).bitPattern)
        mismatches.check(
          FloatMath.narrow(value, isBrain: false) == half, "f16 \(value): \(half)")
        mismatches.check(
          FloatMath.narrow(value, isBrain: true) == brain, "bf16 \(value): \(brain)")
      }
    }
    mismatches.expectNone()
  }

  @Test func `approximations are within their bounds`() {
    var random = SplitMix64(seed: 50)
    let x = (0..<256).map { _ in Float.random(in: 0.01...20, using: &random) }
    for (function, oracle) in [
      (Op.ApproximateFunction.rcp, { 1 / $0 }), (.sqrt, { $0.squareRoot() }),
      (.rsqrt, { 1 / $0.squareRoot() }),
    ] as [(Op.ApproximateFunction, (Double) -> Double)] {
      let found = evaluate(
        .arithmetic(.approximate(function)), [(.f32, x.map(bits))], results: [.f32])[0]
      for row in 0..<256 {
        let exact = oracle(Double(x[row]))
        expect(abs(Double(f(found[row])) - exact) <= exact * 0x1p-23, "\(function) \(x[row])")
      }
    }
    let powers = (-100..<156).map { Float($0) / 2 }
    let found = evaluate(
      .arithmetic(.approximate(.ex2)), [(.f32, powers.map(bits))], results: [.f32])[0]
    for row in stride(from: 0, to: 256, by: 2) {
      expectEqual(f(found[row]), Float(sign: .plus, exponent: (row - 100) / 2, significand: 1))
    }
  }
}
