internal import ApusNumerics

/// Numbers for samples: eighths from −1 to 1, which every type of 8 bits or more holds exactly, or
/// `wide` ones.
struct SampleNumbers: Sendable {
  private var state: UInt64

  /// Numbers that depend on the seed alone (splitmix64).
  init(seed: UInt64) { state = seed }

  mutating func bits() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  mutating func next() -> Float { Float(Int(bits() % 17) - 8) / 8 }

  mutating func values(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }

  /// A number with all bits of f32, from 2^−10 to 2^10 in magnitude.
  mutating func wide() -> Float {
    let bits = bits()
    let mantissa = 1 + Float(bits >> 41) * 0x1p-23
    let power = Float(sign: .plus, exponent: Int(bits % 20) - 10, significand: mantissa)
    return bits & 0x100 == 0 ? power : -power
  }

  /// Positive factors around 1.
  mutating func scales(_ count: Int) -> [Float] { (0..<count).map { _ in 1.25 + next() / 2 } }

  /// An input that holds the values in a type.
  static func input(
    _ name: String, _ values: [Float], as type: ElementType, overflow: OverflowRule = .saturate
  ) -> KernelSample.Buffer {
    var bytes = [UInt8](repeating: 0, count: values.count * type.byteCount)
    bytes.withUnsafeMutableBytes { raw in
      guard let base = raw.baseAddress else { return }
      for (index, value) in values.enumerated() {
        type.store(value, to: base, at: index, overflow: overflow)
      }
    }
    return KernelSample.Buffer(name: name, bytes: bytes, isWritable: false, isWritten: true)
  }

  /// The values of a buffer's bytes.
  static func values(of bytes: [UInt8], as type: ElementType) -> [Float] {
    bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return [] }
      return (0..<bytes.count / type.byteCount).map { type.load(base, at: $0) }
    }
  }

  /// The bits of a buffer's elements.
  static func codes(of bytes: [UInt8], as type: ElementType) -> [UInt32] {
    switch type.byteCount {
    case 1: bytes.map(UInt32.init)
    case 2: KernelSample.elements(of: bytes, as: UInt16.self).map(UInt32.init)
    default: KernelSample.elements(of: bytes, as: UInt32.self)
    }
  }
}
