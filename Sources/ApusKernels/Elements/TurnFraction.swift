internal import ApusDSL
internal import ApusIR

/// Angles as fractions of a turn in 64-bit fixed point: `position · fraction` modulo 2^64 is the
/// angle of a position whatever its size, without floating point.
enum TurnFraction {
  /// `frequency / 2π` modulo 1, times 2^64, within one unit: the product with 1 / 2π runs in two
  /// parts, the second being what the first one rounds away.
  static func fraction(_ frequency: Double) -> UInt64 {
    let high = 0x1.45F306DC9C883p-3  // 1 / 2π
    let low = -0x1.6B01EC5417056p-57  // 1 / 2π − high
    let product = frequency * high
    let rest = (-product).addingProduct(frequency, high) + frequency * low
    return units(product) &+ units(rest)
  }

  /// A number of turns modulo 1 in units of 2^−64.
  private static func units(_ turns: Double) -> UInt64 {
    let part = turns - turns.rounded(.down)
    return UInt64(exactly: (part * 0x1p64).rounded(.down)) ?? 0
  }
}

extension Block {
  /// Cosine and sine of `position · fraction` turns, within 2^−24 of a turn of the unit circle.
  ///
  /// The high word of the angle rounds to a quarter turn; the rest, within ±π/4, goes through the
  /// Taylor polynomials of degree 9 and 10, whose first left-out terms are below 2^−29.
  func cosineAndSine(
    _ position: Value<U32>, _ fraction: (low: Value<U32>, high: Value<U32>)
  ) -> (cosine: Value<F32>, sine: Value<F32>) {
    let angle = mad(position, fraction.high, position.multipliedHigh(by: fraction.low))
    let shifted = angle + 0x2000_0000
    let quarter = shifted >> 30
    let rest = ((shifted & 0x3FFF_FFFF) - 0x2000_0000).bitcast(to: S32.self)
    let x = rest.converted(to: F32.self) * 0x1.921FB6p-30  // 2π / 2^32
    let square = x * x
    func polynomial(_ terms: [Float]) -> Value<F32> {
      let first = constant(terms[0], as: F32.self)
      return terms.dropFirst().reduce(first) { fma($0, square, constant($1, as: F32.self)) }
    }
    let odd = polynomial([1 / 362_880, -1 / 5_040, 1 / 120, -1 / 6])
    let s = fma(x * square, odd, x)
    let c = polynomial([-1 / 3_628_800, 1 / 40_320, -1 / 720, 1 / 24, -1 / 2, 1])
    let isOdd = (quarter & 1) != 0
    // Quarters 1 and 2 have negative cosines, 2 and 3 negative sines.
    let cosineSign = ((quarter + 1) & 2) << 30
    let sineSign = (quarter & 2) << 30
    let cosine = select(isOdd, s, c).bitcast(to: U32.self) ^ cosineSign
    let sine = select(isOdd, c, s).bitcast(to: U32.self) ^ sineSign
    return (cosine.bitcast(to: F32.self), sine.bitcast(to: F32.self))
  }
}
