internal import ApusNumerics

/// How much a case moves and computes: the numerators of GB/s and GFLOP/s.
struct BenchWork: Codable, Sendable, Hashable {
  /// Bytes that must cross memory at least once.
  var bytes: Int
  /// Floating-point operations, a multiply-add counting as two.
  var flops: Int
  /// Bytes of the K/V cache among `bytes`, each counted once.
  var cacheBytes: Int
  /// Whether the operands are exact in bfloat16, so that its pair products serve where they exist.
  var usesPairs: Bool

  init(_ item: BenchCase) {
    usesPairs = Self.usesPairs(item)
    bytes = Self.bytes(item)
    flops = Self.flops(item)
    cacheBytes = item.operator == .appendKV ? 0 : item.shape.cacheByteCount
  }

  /// bf16 queries over a cache of bf16 or 8 bits.
  static func usesPairs(_ item: BenchCase) -> Bool {
    let shape = item.shape
    switch item.operator {
    case .singleDecode, .batchDecode, .singlePrefill, .batchAppend, .mlaDecode:
      return shape.q.type == .bf16 && shape.kv.type != .f32 && shape.kv.type != .f16
    case .mergeStates, .appendKV, .rotary: return false
    }
  }

  /// Query–key pairs that the mask leaves visible in one request and head.
  ///
  /// Full: `qo · kv`. Causal, bottom-right aligned: row `i` sees `kv − qo + i + 1` keys, but none
  /// where that is negative.
  static func visiblePairs(qoLength: Int, kvLength: Int, isCausal: Bool) -> Int {
    guard isCausal else { return qoLength * kvLength }
    let rows = min(qoLength, kvLength)
    return rows * (kvLength - rows) + rows * (rows + 1) / 2
  }

  /// Compulsory traffic: every input byte read once and every output byte written once, whatever an
  /// implementation re-reads.
  ///
  /// - Attention: q + K + V + o, K and V once for all query heads of a group, a latent row once for
  ///   its two roles.
  /// - Merge: all states with their f32 lse, and the result with its lse.
  /// - Cache append: the new rows read and written, and the f32 scales when it computes them.
  /// - Rotation: q and k read and written.
  ///
  /// Page tables and positions are not counted.
  static func bytes(_ item: BenchCase) -> Int {
    let shape = item.shape
    let rows = shape.batch * shape.qoLength
    let q = shape.q.type.byteCount
    switch item.operator {
    case .singleDecode, .batchDecode, .singlePrefill, .batchAppend, .mlaDecode:
      let queries = rows * shape.qoHeadCount * shape.headDimQK * q
      let outputs = rows * shape.qoHeadCount * shape.headDimVO * shape.o.type.byteCount
      return queries + shape.cacheByteCount + outputs
    case .mergeStates:
      let values = rows * shape.qoHeadCount
      let states = shape.stateCount ?? 2
      return values * states * (shape.headDimVO * q + 4)
        + values * (shape.headDimVO * shape.o.type.byteCount + 4)
    case .appendKV:
      let elements = rows * shape.kvHeadCount * (shape.headDimQK + shape.headDimVO)
      let scales = shape.hasDynamicScale == true ? rows * shape.kvHeadCount * 2 * 4 : 0
      return elements * (q + shape.kv.type.byteCount) + scales
    case .rotary:
      return rows * (shape.qoHeadCount + shape.kvHeadCount) * shape.headDimQK * q * 2
    }
  }

  /// Arithmetic of the definition.
  ///
  /// - Attention: `2 · (headDimQK + headDimVO)` per visible pair and query head: the two products.
  ///   The softmax is not counted, as in FlashAttention (arXiv 2205.14135).
  /// - Merge: a multiply-add per element of each state.
  /// - Cache append: none. Rotation: six per pair, that is three per element.
  static func flops(_ item: BenchCase) -> Int {
    let shape = item.shape
    switch item.operator {
    case .singleDecode, .batchDecode, .singlePrefill, .batchAppend, .mlaDecode:
      let pairs = visiblePairs(
        qoLength: shape.qoLength, kvLength: shape.kvLength, isCausal: shape.isCausal)
      return 2 * shape.batch * shape.qoHeadCount * pairs * (shape.headDimQK + shape.headDimVO)
    case .mergeStates:
      return 2 * shape.batch * shape.qoLength * shape.qoHeadCount * shape.headDimVO
        * (shape.stateCount ?? 2)
    case .appendKV:
      return 0
    case .rotary:
      return 3 * shape.batch * shape.qoLength * (shape.qoHeadCount + shape.kvHeadCount)
        * shape.headDimQK
    }
  }
}
