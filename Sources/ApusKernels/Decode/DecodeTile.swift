internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// Where this lane's fragments of a staged 16-token tile lie.
///
/// A tile is `panels` panels of 16 rows × `swizzle.rowBytes`. `ldmatrix` reads two 16-byte chunks
/// of 16 rows at once. Bytes of FP8 take part as pairs: fragments of K then hold dimensions
/// 4t…4t + 3 of a chunk where the product expects 2t, 2t + 1, 2t + 8 and 2t + 9, which the query
/// fragments repeat; fragments of V hold dimensions 2g and 2g + 1 where it expects g and g + 8.
struct DecodeTile {
  let context: DecodeContext
  /// Byte offsets of the lane's row and chunk, by even chunk of a panel.
  let keyOffsets, valueOffsets: [Value<U32>]

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext) {
    self.context = context
    let lane = context.lane
    let swizzle = context.kernel.swizzle
    let chunks = swizzle.rowBytes / 16
    func offsets(row: Value<U32>, upper: Value<U32>) -> [Value<U32>] {
      let phase = (row >> (7 - swizzle.rowBytes.trailingZeroBitCount)) & (chunks - 1)
      return (0..<chunks / 2).map { pair in
        row * swizzle.rowBytes + (((upper + 2 * pair) ^ phase) << 4)
      }
    }
    keyOffsets = offsets(row: lane & 15, upper: lane >> 4)
    valueOffsets =
      context.kernel.isFP8
      ? keyOffsets : offsets(row: (lane & 7) + ((lane >> 4) << 3), upper: (lane >> 3) & 1)
  }

  /// Chunk pairs of a row.
  var pairs: Int { kernel.rowBytes / 32 }

  private func words(
    _ tile: Value<U32>, _ bytes: Int, _ offsets: [Value<U32>], pair: Int, isTransposed: Bool
  ) -> [Value<U32>] {
    let panel = pair / offsets.count
    let pointer = SharedPointer<U32>(address: tile + offsets[pair % offsets.count])
    return block.ldmatrix(
      pointer.advanced(bytes: bytes + panel * 16 * kernel.swizzle.rowBytes), count: 4,
      isTransposed: isTransposed, as: U32.self)
  }

  /// A operands of K·Qᵀ from a chunk pair, one for each 16 dimensions.
  func keys(_ tile: Value<U32>, bytes: Int, pair: Int) -> [[Value<U32>]] {
    let words = words(tile, bytes, keyOffsets, pair: pair, isTransposed: false)
    guard kernel.isFP8 else { return [words] }
    let halves = words.map { widen($0, selectors: (0x1404, 0x3424)) }
    return [0, 2].map {
      [halves[$0].low, halves[$0 + 1].low, halves[$0].high, halves[$0 + 1].high]
    }
  }

  /// A operands of Vᵀ·Pᵀ from a chunk pair, one for each 16 dimensions.
  func values(_ tile: Value<U32>, bytes: Int, pair: Int) -> [[Value<U32>]] {
    let words = words(tile, bytes, valueOffsets, pair: pair, isTransposed: true)
    guard kernel.isFP8 else { return [words] }
    // Bytes are (token 2t: d, d + 1; token 2t + 1: d, d + 1): operands pair the tokens.
    let halves = words.map { widen($0, selectors: (0x2404, 0x3414)) }
    return [0, 2].map {
      [halves[$0].low, halves[$0].high, halves[$0 + 1].low, halves[$0 + 1].high]
    }
  }

  /// What a converted code has to be multiplied with.
  var codeScale: Float { usesCodeBits ? 256 : 1 }

  private var usesCodeBits: Bool { kernel.cacheType == .e4m3 && block.target < .sm89 }

  /// Four codes as two pairs of binary16.
  ///
  /// - Parameter selectors: which two bytes come first: byte permutations that put them into the
  ///   upper halves of 16-bit words of zeros (4 selects a zero).
  private func widen(
    _ word: Value<U32>, selectors: (Int, Int)
  ) -> (low: Value<U32>, high: Value<U32>) {
    let zero = context.u32(0)
    if kernel.cacheType == .e5m2 {
      // A code is the upper byte of the binary16 of its value.
      return (
        word.permuted(with: zero, selector: selectors.0),
        word.permuted(with: zero, selector: selectors.1)
      )
    }
    if usesCodeBits {
      return (
        codeBits(word.permuted(with: zero, selector: selectors.0)),
        codeBits(word.permuted(with: zero, selector: selectors.1))
      )
    }
    let isPlain = selectors.0 == 0x1404
    let ordered = isPlain ? word : word.permuted(with: word, selector: 0x3120)
    let pairs = ordered.converted(to: F16x2.self, from: .e4m3)
    return (pairs.low.bitcast(to: U32.self), pairs.high.bitcast(to: U32.self))
  }

  /// e4m3 codes in the upper bytes of both halves as binary16 of value · 2^−8: exponent and
  /// mantissa one place down, subnormals included. Of the magnitudes only a NaN's reaches bit 14
  /// when a half's bit 7 is added; with that bit it is a NaN of binary16.
  private func codeBits(_ codes: Value<U32>) -> Value<U32> {
    let magnitude = (codes >> 1) & 0x3F80_3F80
    let value = (codes & 0x8000_8000) | magnitude
    return ((magnitude + 0x0080_0080) & 0x4000_4000) | value
  }

  /// Zeroes the rows of V that do not count: what unused slots hold must not meet P = 0.
  ///
  /// - Parameter isDead: whether token `index` of the tile does not count.
  func clearValues(
    _ tile: Value<U32>, bytes: Int, isDead: (_ index: Value<U32>) -> Value<Pred>
  ) {
    let zero = context.u32(0)
    forEachChunk(tile, bytes: bytes) { row, place in
      block.when(isDead(row), .predicated) { block.store([zero, zero, zero, zero], to: place) }
    }
  }

  /// Calls `body` with row and place of each 16-byte chunk that the lane has of a tile.
  func forEachChunk(
    _ tile: Value<U32>, bytes: Int,
    _ body: (_ row: Value<U32>, _ place: SharedPointer<U32>) -> Void
  ) {
    let rowBytes = kernel.swizzle.rowBytes
    for part in 0..<kernel.tileBytes / 512 {
      let offset = (context.lane << 4) + 512 * part
      let row = (offset >> rowBytes.trailingZeroBitCount) & 15
      let pointer = SharedPointer<U32>(address: tile + (context.lane << 4))
      body(row, pointer.advanced(bytes: bytes + 512 * part))
    }
  }
}
