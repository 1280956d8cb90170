/// The suite's random numbers: the same (seed, stream) gives the same values on every platform.
///
/// SplitMix64 of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA
/// 2014). Each case has a stream of its own, so that case 1234 can be rebuilt without the 1233
/// before it.
public struct CaseRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// The generator of one stream of a seed.
  public init(seed: UInt64, stream: UInt64) {
    // Finalised separately, so that neighbouring streams do not overlap as shifted copies.
    state = Self.finalise(seed &+ 0x9E37_79B9_7F4A_7C15)
    state ^= Self.finalise(stream &* 0xD1B5_4A32_D192_ED03 &+ 0x8CB9_2BA7_2F3D_8DD7)
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.finalise(state)
  }

  private static func finalise(_ value: UInt64) -> UInt64 {
    var bits = value
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }

  /// A uniform integer of the range.
  mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  /// A uniform real of the range.
  mutating func real(_ range: ClosedRange<Float>) -> Float {
    let unit = Float(next() >> 40) * 0x1p-24
    return range.lowerBound + (range.upperBound - range.lowerBound) * unit
  }

  /// True with the given probability.
  mutating func chance(_ probability: Double) -> Bool {
    Double(next() >> 11) * 0x1p-53 < probability
  }

  /// A uniform element of a list that is never empty.
  mutating func pick<Element>(_ values: [Element]) -> Element { values[int(0...values.count - 1)] }

  /// A permutation of `0 ..< count`.
  mutating func permutation(_ count: Int) -> [Int] { (0..<count).shuffled(using: &self) }

  /// Appends `count` standard normal values scaled by `deviation`.
  mutating func fillNormal(_ values: inout [Float], count: Int, deviation: Float = 1) {
    values.removeAll(keepingCapacity: true)
    while values.count < count {
      var bits = next()
      for _ in 0..<Swift.min(5, count - values.count) {
        values.append(NormalTable.values[Int(bits & 0xFFF)] * deviation)
        bits >>= 12
      }
    }
  }
}

/// 4096 standard normal values: a table look-up costs a tenth of drawing each value anew, and the
/// suite draws hundreds of millions.
private enum NormalTable {
  /// Sums of twelve uniforms less six (Irwin–Hall): mean 0, variance 1, no mathematical library, so
  /// the bits are the same everywhere.
  static let values: [Float] = {
    var random = CaseRandom(seed: 12, stream: 6)
    return (0..<4096).map { _ in
      var sum: Float = -6
      for _ in 0..<12 { sum += random.real(0...1) }
      return sum
    }
  }()
}
