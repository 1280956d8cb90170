import ApusNumerics
import ApusTestSupport
import Testing

struct ULPDistanceTests {
  @Test func `ulp of a f32 value is Swift's`() {
    let values: [Float] = [
      0, .leastNonzeroMagnitude, .leastNormalMagnitude.nextDown, .leastNormalMagnitude, 1,
      Float(1).nextDown, 3.7, 1e-30, 1e30, .greatestFiniteMagnitude,
    ]
    withEvery("value", in: values) { value in
      expectEqual(ElementType.f32.ulp(of: Double(value)), Double(value.ulp))
      expectEqual(ElementType.f32.ulp(of: -Double(value)), Double(value.ulp))
    }
  }

  /// For the types small enough to list, the definition itself.
  @Test func `ulp is the distance to the next value away from zero`() {
    let oracles: [(ElementType, Oracle)] = [
      (.f16, .half), (.bf16, .bfloat16), (.e4m3, .e4m3), (.e5m2, .e5m2),
    ]
    withEvery("type", in: oracles.map(\.0)) { type in
      guard let oracle = oracles.first(where: { $0.0 == type })?.1 else { return }
      var mismatches = Mismatches()
      let next = oracle.magnitudes.dropFirst() + [oracle.beyondGreatest]
      for (value, following) in zip(oracle.magnitudes, next) {
        let ulp = following - value
        for inside in [value, (value + following) / 2, following.nextDown] {
          mismatches.check(
            type.ulp(of: inside) == ulp && type.ulp(of: -inside) == ulp,
            "\(inside): found \(type.ulp(of: inside)), expected \(ulp)")
        }
      }
      mismatches.expectNone()
    }
  }

  @Test func `ulp beyond the range is that of the largest value`() {
    expectEqual(ElementType.e4m3.ulp(of: 448), 32)
    expectEqual(ElementType.e4m3.ulp(of: -1e300), 32)
    expectEqual(ElementType.e5m2.ulp(of: 1e6), 8192)
    expectEqual(ElementType.f16.ulp(of: 65536), 32)
    expectEqual(ElementType.bf16.ulp(of: 0x1p200), 0x1p120)
    expectEqual(ElementType.f32.ulp(of: 0x1p200), 0x1p104)
  }

  @Test func `ulp of tiny values is the least value`() {
    withEvery("type", in: ElementType.allCases) { type in
      for value in [0, Double.leastNonzeroMagnitude, 0x1p-1000, Double(type.leastNonzeroMagnitude)]
      {
        expectEqual(type.ulp(of: value), Double(type.leastNonzeroMagnitude), "\(value)")
      }
    }
  }

  @Test func `ulp of infinity and NaN is NaN`() {
    withEvery("type", in: ElementType.allCases) { type in
      expect(type.ulp(of: .infinity).isNaN)
      expect(type.ulp(of: -.infinity).isNaN)
      expect(type.ulp(of: .nan).isNaN)
    }
  }

  @Test func `distance counts representable steps`() {
    expectEqual(Float(1).ulpDistance(to: 1), 0)
    expectEqual(Float(1).ulpDistance(to: Float(1).nextUp), 1)
    expectEqual(Float(1).ulpDistance(to: Float(1).nextDown), 1)
    expectEqual(Float(1).ulpDistance(to: 2), 1 << 23)
    expectEqual(Float(0).ulpDistance(to: -0.0), 0)
    expectEqual(
      (-Float.leastNonzeroMagnitude).ulpDistance(to: .leastNonzeroMagnitude), 2)
    expectEqual(Float.greatestFiniteMagnitude.ulpDistance(to: .infinity), 1)
    expectEqual((-Float.infinity).ulpDistance(to: .infinity), 2 * 0x7F80_0000)
  }

  @Test func `distance is symmetric and has no value for NaN`() {
    withEvery("a", in: [Float(-3), 0, 0x1p-140, 5, .infinity]) { a in
      withEvery("b", in: [Float(-1e30), -0.0, 2, 7]) { b in
        expectEqual(a.ulpDistance(to: b), b.ulpDistance(to: a))
      }
      expectEqual(a.ulpDistance(to: .nan), nil)
      expectEqual(Float.nan.ulpDistance(to: a), nil)
    }
    expectEqual(Float.nan.ulpDistance(to: .nan), nil)
  }
}
