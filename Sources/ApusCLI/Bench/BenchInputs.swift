internal import Apus
internal import ApusNumerics

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same inputs on every machine.
struct BenchRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    return bits ^ (bits >> 31)
  }
}

/// Makes tensors of standard normal values, never zeros: an all-zero input takes other branches of
/// the softmax and, on some memory systems, other paths through the caches.
///
/// Values come from one list of 2¹⁶ per type, copied from random places: gigabytes of cache would
/// take minutes to draw one by one, and nothing that is measured can see the repetition.
struct BenchInputs {
  static let poolCount = 1 << 16
  private static let chunkCount = 1 << 12
  private var pools: [ElementType: [UInt8]] = [:]
  private var random = BenchRandom(seed: 2026)

  /// A normal tensor.
  mutating func normal(_ type: ElementType, _ shape: [Int]) throws -> Tensor {
    let tensor = try Tensor(zeros: type, shape: shape)
    let pool = try pool(type)
    tensor.withMutableBytes { bytes in
      pool.withUnsafeBytes { source in
        var position = 0
        while position < bytes.count {
          let length = min(Self.chunkCount * type.byteCount, bytes.count - position)
          let last = Self.poolCount - Self.chunkCount
          let first = Int.random(in: 0...last, using: &random) * type.byteCount
          let chunk = UnsafeRawBufferPointer(rebasing: source[first..<first + length])
          UnsafeMutableRawBufferPointer(rebasing: bytes[position..<position + length])
            .copyMemory(from: chunk)
          position += length
        }
      }
    }
    return tensor
  }

  /// Pages of `batch` requests of `length` tokens each, in random order.
  mutating func pages(batch: Int, length: Int, pageSize: Int) -> PageTable {
    let perRequest = (length + pageSize - 1) / pageSize
    let indices = (0..<Int32(batch * perRequest)).shuffled(using: &random)
    let last = length - (perRequest - 1) * pageSize
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(uniform: perRequest, batch: batch),
      indices: indices, lastPageLength: [Int32](repeating: Int32(last), count: batch))
  }

  /// Sums of twelve uniforms less six (Irwin–Hall): mean 0, variance 1.
  private mutating func pool(_ type: ElementType) throws -> [UInt8] {
    if let pool = pools[type] { return pool }
    var values = [Float](repeating: 0, count: Self.poolCount)
    for index in values.indices {
      var sum: Float = -6
      for _ in 0..<3 {
        let bits = random.next()
        for shift in stride(from: UInt64(0), to: 64, by: 16) {
          sum += (Float(UInt16(truncatingIfNeeded: bits >> shift)) + 0.5) * 0x1p-16
        }
      }
      values[index] = sum
    }
    var bytes = [UInt8](repeating: 0, count: Self.poolCount * type.byteCount)
    try values.withUnsafeBufferPointer { source in
      try bytes.withUnsafeMutableBytes { try type.narrow(source, into: $0) }
    }
    pools[type] = bytes
    return bytes
  }
}
