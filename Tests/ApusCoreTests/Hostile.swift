import ApusCore
import ApusTestSupport

/// A seeded adversary: takes valid values and spoils some of them.
struct Hostile {
  var random: SplitMix64

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  static let extremes: [Int] = [
    .min, .min + 1, -1 << 62, Int(Int32.min) - 1, Int(Int32.min), -2, -1, 0, 1, 2, 3,
    Int(Int32.max) - 1, Int(Int32.max), 1 << 31, 1 << 32, 1 << 62, .max / 2, .max - 1, .max,
  ]

  mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &random) == 0 }

  mutating func pick<Value>(_ values: [Value]) -> Value {
    values[Int.random(in: 0..<values.count, using: &random)]
  }

  /// An extreme, a number of random width, or a small one.
  mutating func int() -> Int {
    switch Int.random(in: 0..<4, using: &random) {
    case 0: Int(truncatingIfNeeded: random.next()) >> Int.random(in: 0..<64, using: &random)
    case 1: Int.random(in: -2...12, using: &random)
    default: pick(Self.extremes)
    }
  }

  mutating func int32() -> Int32 { Int32(truncatingIfNeeded: int()) }

  mutating func float() -> Float {
    pick([.nan, .infinity, -.infinity, 0, -1, 1, 0.5, .greatestFiniteMagnitude, 0x1p-149])
  }

  /// The value, or once in `oneIn` something hostile.
  mutating func spoil(_ value: Int, oneIn: Int = 40) -> Int { chance(oneIn) ? int() : value }

  /// The list with, now and then, one value replaced, inserted or removed, or none left.
  mutating func spoil(_ values: [Int], oneIn: Int = 12) -> [Int] {
    guard chance(oneIn) else { return values }
    var values = values
    let index = Int.random(in: 0...values.count, using: &random)
    switch Int.random(in: 0..<8, using: &random) {
    case 0: return []
    case 1: values.insert(int(), at: index)
    case 2 where index < values.count: values.remove(at: index)
    case 3 where index < values.count: values[index] &-= 1
    case 4 where index < values.count: values[index] &+= 1
    default: if index < values.count { values[index] = int() }
    }
    return values
  }

  mutating func spoil(_ values: [Int32], oneIn: Int = 12) -> [Int32] {
    spoil(values.map(Int.init), oneIn: oneIn).map { Int32(truncatingIfNeeded: $0) }
  }

  /// A view like `view` with hostile shape, strides, size, type or address.
  mutating func spoil(_ view: TensorView, oneIn: Int = 6) -> TensorView {
    guard chance(oneIn) else { return view }
    let shape = spoil(view.shape, oneIn: 2)
    let strides = chance(2) ? spoil(view.strides, oneIn: 2) : TensorView.denseStrides(shape)
    let fitting = TensorView.sample(view.scalarType, shape, strides: strides).byteCount
    let address: UInt = chance(4) ? UInt(bitPattern: int()) : .max - UInt(fitting >> 1)
    return TensorView(
      address: chance(3) ? address : view.address,
      byteCount: pick([fitting, fitting, fitting, view.byteCount, .max, spoil(fitting, oneIn: 1)]),
      scalarType: chance(8) ? pick(ScalarType.allCases) : view.scalarType, shape: shape,
      strides: strides, memory: chance(20) ? .cuda(device: spoil(0)) : view.memory)
  }

  /// Non-decreasing offsets of `batch` requests of up to `limit` rows each.
  mutating func indptr(batch: Int, limit: Int) -> RaggedIndptr {
    RaggedIndptr(lengths: (0..<batch).map { _ in Int.random(in: 0...limit, using: &random) })
  }

  /// A page table over the pages of a cache of `pages` in either form, before spoiling.
  mutating func table(batch: Int, pages: Int) -> PageTable {
    let pageSize = pick([1, 2, 4, 5])
    let widths = (0..<batch).map { _ in Int.random(in: 0...2, using: &random) }
    func entries(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(pages), using: &random) }
    }
    if chance(2) {
      let offsets = RaggedIndptr(lengths: widths).offsets
      let indices = entries(offsets[batch])
      let last = (0..<batch).map { _ in Int32.random(in: 1...Int32(pageSize), using: &random) }
      return PageTable(
        pageSize: spoil(pageSize), indptr: RaggedIndptr(spoil(offsets)), indices: spoil(indices),
        lastPageLength: spoil(last))
    }
    let lengths = widths.map { Int.random(in: 0...($0 * pageSize), using: &random) }
    let blocks = entries(2 * batch)
    return PageTable(
      pageSize: spoil(pageSize), blocks: spoil(blocks), pagesPerRequest: spoil(2),
      lengths: spoil(lengths))
  }

  mutating func scale(head: [Int], token: [Int]) -> Scale {
    switch Int.random(in: 0..<12, using: &random) {
    case 0: .tensor(float())
    case 1: .head(spoil(.sample(.f32, head)))
    case 2: .tokenHead(spoil(.sample(.f32, token)))
    default: .one
    }
  }
}
