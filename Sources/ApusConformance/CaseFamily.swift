internal import ApusCore

/// A group of operators whose kernels belong together: what `--family` chooses.
public enum CaseFamily: String, Sendable, Hashable, CaseIterable {
  /// Attention of many query rows.
  case prefill
  /// Attention of one or a few query rows, without MLA.
  case decode
  /// Attention over latent caches.
  case mla
  /// Merges of states.
  case merge
  /// Writes into caches.
  case append
  /// The rotation operator.
  case rope
  /// Packing of booleans.
  case packbits

  /// Uses of attention that the family has; empty for other operators.
  var uses: [AttentionUse] {
    switch self {
    case .prefill: [.singlePrefill, .raggedPrefill, .pagedPrefill]
    case .decode: [.singleDecode, .paddedDecode, .pagedDecode, .blockDecode, .speculative]
    case .mla: [.mla]
    case .merge, .append, .rope, .packbits: []
    }
  }
}

extension ConformanceCase {
  /// The case `index` of a seed within one family.
  ///
  /// Half of the prefill cases of full size cross several tiles of 128 rows and keys, which the
  /// general cases, bounded by the time of their references, seldom do.
  public init(seed: UInt64, index: Int, size: CaseSize = .full, family: CaseFamily) {
    var random = CaseRandom(seed: seed, stream: UInt64(bitPattern: Int64(index)) &* 2)
    let content: Content
    switch family {
    case .prefill, .decode, .mla:
      var value = AttentionCase.generate(
        &random, index: index, size: size, use: random.pick(family.uses))
      if family == .prefill, size == .full, random.chance(0.5) { value.stretch(&random) }
      content = .attention(value)
    case .merge: content = .merge(.generate(&random, size: size))
    case .append: content = .append(.generate(&random, size: size))
    case .rope: content = .rotary(.generate(&random, size: size))
    case .packbits: content = .packBits(.generate(&random, size: size))
    }
    self.init(seed: seed, index: index, size: size, content: content)
  }
}

extension AttentionCase {
  /// Lengths around multiples of 128, few heads and small batches: several tiles each way at
  /// at most 64 million multiply-adds.
  mutating func stretch(_ random: inout CaseRandom) {
    let rows = [127, 128, 129, 200, 255, 256, 257, 300, 384, 385]
    let keys = rows + [511, 512, 513, 640, 1000, 1024, 1025, 1500]
    let count = use == .singlePrefill ? 1 : random.int(1...3)
    qoLengths = (0..<count).map { _ in random.pick(rows) }
    kvLengths = qoLengths.map { random.chance(0.3) ? $0 : random.pick(keys) }
    let heads = random.int(1...2)
    shape = AttentionShape(
      qoHeadCount: heads * random.pick([1, 1, 2, 4]), kvHeadCount: heads,
      headDimQK: shape.headDimQK, headDimVO: shape.headDimVO)
    customMask = nil
    if hasAlibi, random.chance(0.5) { hasAlibi = false }
    while work > 64_000_000, let last = kvLengths.indices.max(by: { kvLengths[$0] < kvLengths[$1] })
    {
      kvLengths[last] /= 2
    }
  }
}
