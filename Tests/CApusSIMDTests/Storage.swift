import ApusNumerics
import ApusTestSupport

/// A generator whose seed is printed with the test's output.
func seeded(_ seed: UInt64) -> SplitMix64 {
  print("seed \(seed)")
  return SplitMix64(seed: seed)
}

/// A heap block of exactly the bytes asked for, starting at an odd address: one byte beyond its
/// end is one that AddressSanitizer knows.
final class Block {
  private let whole: UnsafeMutableRawPointer
  let byteCount: Int

  var start: UnsafeMutableRawPointer { whole + 1 }

  init(byteCount: Int) {
    self.byteCount = byteCount
    whole = .allocate(byteCount: byteCount + 1, alignment: 1)
  }

  deinit { whole.deallocate() }
}

/// Rows of one storage type, each in its own block, with their values as float64.
struct StoredRows {
  let blocks: [Block]
  let values: [[Double]]

  /// Random finite values in (-4, 4), rounded to `type`.
  init(_ type: ElementType, count: Int, dim: Int, using generator: inout SplitMix64) {
    var blocks: [Block] = []
    var values: [[Double]] = []
    for _ in 0..<count {
      let block = Block(byteCount: dim * type.byteCount)
      for index in 0..<dim {
        type.store(Float.random(in: -4..<4, using: &generator), to: block.start, at: index)
      }
      values.append((0..<dim).map { Double(type.load(block.start, at: $0)) })
      blocks.append(block)
    }
    (self.blocks, self.values) = (blocks, values)
  }

  /// Row addresses as the kernels take them, in a block of exactly their size.
  func withPointers<Result>(_ body: (UnsafePointer<UnsafeRawPointer?>) -> Result) -> Result {
    let pointers = UnsafeMutablePointer<UnsafeRawPointer?>.allocate(capacity: blocks.count)
    defer { pointers.deallocate() }
    for (index, block) in blocks.enumerated() {
      (pointers + index).initialize(to: UnsafeRawPointer(block.start))
    }
    return body(pointers)
  }
}

/// An f32 matrix whose rows are `stride` apart, in a block that ends with the last row's last
/// element. The gaps between rows hold a NaN that no kernel may read or overwrite.
final class Matrix {
  static let poison = Float(bitPattern: 0x7FC0_DEAD)

  let rows: Int
  let columns: Int
  let stride: Int
  let start: UnsafeMutablePointer<Float>
  private let count: Int

  init(rows: Int, columns: Int, gap: Int = 3, fill: (Int, Int) -> Float) {
    (self.rows, self.columns, stride) = (rows, columns, columns + gap)
    count = rows == 0 ? 0 : (rows - 1) * (columns + gap) + columns
    start = .allocate(capacity: count)
    start.initialize(repeating: Self.poison, count: count)
    for row in 0..<rows {
      for column in 0..<columns { self[row, column] = fill(row, column) }
    }
  }

  /// Random values in (-1, 1).
  convenience init(
    rows: Int, columns: Int, gap: Int = 3, using generator: inout SplitMix64
  ) {
    var source = generator
    self.init(rows: rows, columns: columns, gap: gap) { _, _ in
      Float.random(in: -1..<1, using: &source)
    }
    generator = source
  }

  deinit { start.deallocate() }

  subscript(row: Int, column: Int) -> Float {
    get { start[row * stride + column] }
    set { start[row * stride + column] = newValue }
  }

  /// Whether the gaps still hold the poison.
  var gapsAreIntact: Bool {
    (0..<count).allSatisfy {
      $0 % stride < columns || start[$0].bitPattern == Self.poison.bitPattern
    }
  }
}
