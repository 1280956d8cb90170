import ApusCore
import ApusTestSupport
import Foundation
import Testing

@Suite struct LSEConventionTests {
  private let all = LogBase.allCases.flatMap { base in
    LSEConvention.EmptyRow.allCases.map { LSEConvention(base: base, emptyRow: $0) }
  }

  @Test func `named conventions`() {
    #expect("\(LSEConvention.base2)" == "base 2, empty -inf")
    #expect("\(LSEConvention.natural)" == "base e, empty -inf")
    #expect("\(LSEConvention.flashMLA)" == "base e, empty +inf")
  }

  /// From the C library, not from the constant under test.
  private let ln2: Double = Foundation.log(2.0 as Double)

  @Test func `the natural logarithm is the base-2 one times ln 2, rounded once`() {
    for value in [0, 1, -1, 10.5, -1000.25, 0x1p-20] as [Float] {
      #expect(LSEConvention.natural.external(value) == Float(Double(value) * ln2))
      #expect(LSEConvention.base2.external(value) == value)
    }
    #expect(LSEConvention.natural.internal(1) == Float(1 / ln2))
  }

  @Test func `an empty row survives every convention`() {
    for convention in all {
      let outside = convention.external(-.infinity)
      #expect(outside == (convention.emptyRow == .negativeInfinity ? -.infinity : .infinity))
      #expect(convention.internal(outside) == -.infinity)
      #expect(convention.external(.nan).isNaN && convention.internal(.nan).isNaN)
    }
  }

  @Test func `round trips are exact in base 2 and within two roundings in base e`() {
    // Two roundings to f32 (u = 2⁻²⁴) and four to float64 (product, quotient, twice ln 2).
    let bound: Double = pow(1 + 0x1p-24, 2.0 as Double) * pow(1 + 0x1p-53, 4.0 as Double) - 1
    var random = SplitMix64(seed: 11)
    var log = Mismatches()
    for _ in 0..<20_000 {
      let exponent = Int.random(in: -100...100, using: &random)
      let value = Float(
        sign: Bool.random(using: &random) ? .plus : .minus, exponent: exponent,
        significand: Float.random(in: 1..<2, using: &random))
      for convention in all {
        let back = convention.internal(convention.external(value))
        let error = abs(Double(back) - Double(value)) / abs(Double(value))
        log.check(
          convention.base == .two ? back == value : error <= bound,
          "\(convention): \(value) came back as \(back)")
      }
    }
    log.expectNone()
  }
}
