public import ApusCore
public import ApusNumerics
internal import ApusReference

/// An append of new tokens to a paged cache.
public struct AppendCase: Sendable, Hashable, CustomStringConvertible {
  /// Latent widths, or nil for K and V.
  public var latent: LatentShape?
  /// KV or latent heads.
  public var heads: Int
  /// Width of k (ckv) and v (kpe).
  public var widths: [Int]
  /// Type of the new tokens.
  public var source: ElementType
  /// Type of the cache.
  public var cache: ElementType
  /// Token and head order.
  public var layout: KVLayout
  /// Tokens per page.
  public var pageSize: Int
  /// Pages in a block table rather than compressed rows.
  public var isBlockTable: Bool
  /// One cache tensor rather than two.
  public var isCombined: Bool
  /// Gaps in the strides.
  public var hasGaps: Bool
  /// Length of each request after the append.
  public var lengths: [Int]
  /// New tokens of each request.
  public var added: [Int]
  /// Skips some tokens (batch index −1).
  public var skips: Bool
  /// Scale of k; `tokenHead` is the dynamic one.
  public var kScale: ScaleChoice
  /// Scale of v (kpe).
  public var vScale: ScaleChoice
  /// Values beyond the cache's range, zero rows, NaN and infinities among the new tokens.
  public var isWild: Bool

  /// One line.
  public var description: String {
    let kind = latent.map { "\($0)" } ?? "k/v \(widths)"
    var text = "append: \(kind), heads \(heads), \(source) to \(cache), \(layout)"
    text += ", pages \(pageSize)\(isBlockTable ? " block table" : "")"
    text += "\(isCombined ? ", combined" : "")\(hasGaps ? ", gaps" : "")"
    text += ", lengths \(lengths), added \(added)\(skips ? " with skips" : "")"
    return text
      + ", k-scale \(kScale.rawValue), v-scale \(vScale.rawValue)\(isWild ? ", wild" : "")"
  }

  /// Draws a case.
  static func generate(_ random: inout CaseRandom, size: CaseSize) -> AppendCase {
    let isSmall = size == .small
    let latents = isSmall ? CaseAxes.latents.suffix(2) : CaseAxes.latents[...]
    let latent = random.chance(0.4) ? random.pick(Array(latents)) : nil
    let k = 8 * random.int(1...(isSmall ? 3 : 20))
    let isCombined = random.chance(0.4)
    let v = isCombined || random.chance(0.6) ? k : 8 * random.int(1...(isSmall ? 3 : 20))
    let batch = random.pick(CaseAxes.batches)
    let lengths = (0..<batch).map { _ in random.int(0...(isSmall ? 20 : 120)) }
    let kScale = random.pick(ScaleChoice.allCases)
    var vScale = random.pick(ScaleChoice.allCases)
    if latent != nil, vScale == .tokenHead || kScale == .tokenHead { vScale = .one }
    let source = random.pick(CaseAxes.types)
    return AppendCase(
      latent: latent, heads: latent == nil ? random.pick(CaseAxes.kvHeads) : random.int(1...2),
      widths: latent.map { [$0.ckv, $0.kpe] } ?? [k, v], source: source,
      // Equal types are copied bit for bit: often enough to meet every scale and wild value.
      cache: random.chance(0.3) ? source : random.pick(CaseAxes.types),
      layout: random.pick(KVLayout.allCases),
      pageSize: random.pick(CaseAxes.pageSizes), isBlockTable: random.chance(0.5),
      isCombined: isCombined, hasGaps: random.chance(0.4), lengths: lengths,
      added: lengths.map { random.int(0...Swift.min($0, isSmall ? 6 : 40)) },
      skips: random.chance(0.3),
      kScale: kScale, vScale: vScale, isWild: random.chance(0.5))
  }
}

/// An append case with memory.
final class AppendTensors {
  let memory = CaseMemory()
  let problem: AppendProblem
  let arguments: AppendArguments

  init(_ source: AppendCase, random initial: CaseRandom) {
    var random = initial
    let pages = source.lengths.map { ($0 + source.pageSize - 1) / source.pageSize }
    let pageCount = pages.reduce(0, +) + 2
    let pool = random.permutation(pageCount).map(Int32.init)
    let table = source.table(pages, pool)
    var indices: [Int32] = []
    var positions: [Int32] = []
    for (r, (length, added)) in zip(source.lengths, source.added).enumerated() {
      for i in 0..<added {
        let isSkipped = source.skips && random.chance(0.3)
        indices.append(isSkipped ? -1 : Int32(r))
        positions.append(isSkipped ? -7 : Int32(length - added + i))
      }
    }
    // Tokens come in any order.
    let order = random.permutation(indices.count)
    indices = order.map { indices[$0] }
    positions = order.map { positions[$0] }
    if let latent = source.latent {
      problem = AppendProblem(
        latent: latent, latentHeadCount: source.heads, sourceType: source.source,
        cacheType: source.cache, layout: source.layout, table: table, batchIndices: indices,
        positions: positions)
    } else {
      problem = AppendProblem(
        kvHeadCount: source.heads, headDimK: source.widths[0], headDimV: source.widths[1],
        sourceType: source.source, cacheType: source.cache, layout: source.layout, table: table,
        batchIndices: indices, positions: positions)
    }
    let spread: CaseMemory.Spread = source.hasGaps ? .gaps : .dense
    let outer =
      [pageCount]
      + (source.layout == .nhd
        ? [source.pageSize, source.heads] : [source.heads, source.pageSize])
    let isBare = source.latent != nil && source.heads == 1 && !source.hasGaps
    let tokens = isBare ? [indices.count] : [indices.count, source.heads]
    let type = ScalarType(source.source)
    let keys = memory.tensor("keys", type, tokens + [source.widths[0]], spread: spread)
    let values = memory.tensor("values", type, tokens + [source.widths[1]], spread: spread)
    source.fill(keys, &random)
    source.fill(values, &random)
    var bare = outer
    if isBare { bare.remove(at: source.layout == .nhd ? 2 : 1) }
    let cacheType = ScalarType(source.cache)
    let cache: KVOperand
    switch (source.latent != nil, source.isCombined) {
    case (false, false):
      cache = .separate(
        k: memory.tensor("k", cacheType, outer + [source.widths[0]], spread: spread),
        v: memory.tensor("v", cacheType, outer + [source.widths[1]], spread: spread))
    case (false, true):
      let shape = [pageCount, 2] + outer.dropFirst() + [source.widths[0]]
      cache = .combined(memory.tensor("kv", cacheType, shape, spread: spread))
    case (true, false):
      cache = .latent(
        ckv: memory.tensor("ckv", cacheType, bare + [source.widths[0]], spread: spread),
        kpe: memory.tensor("kpe", cacheType, bare + [source.widths[1]], spread: spread))
    case (true, true):
      let shape = bare + [source.widths[0] + source.widths[1]]
      cache = .packedLatent(memory.tensor("latent", cacheType, shape, spread: spread))
    }
    let memory = memory
    func scale(_ name: String, _ choice: ScaleChoice) -> AppendScale {
      switch choice {
      case .one: return .one
      case .tensor: return .tensor(random.real(0.01...3))
      case .head:
        let view = memory.tensor(name, .f32, [source.heads])
        for head in 0..<source.heads { view.set(random.real(0.01...3), at: head) }
        return .head(view)
      case .tokenHead:
        return .dynamicTokenHead(memory.tensor(name, .f32, outer, spread: spread))
      }
    }
    arguments = AppendArguments(
      keys: keys, values: values, cache: cache, kScale: scale("kScale", source.kScale),
      vScale: scale("vScale", source.vScale))
  }
}

extension AppendCase {
  fileprivate func table(_ pages: [Int], _ pool: [Int32]) -> PageTable {
    var rows: [[Int32]] = []
    var next = 0
    for count in pages {
      rows.append(Array(pool[next..<next + count]))
      next += count
    }
    guard isBlockTable else {
      return PageTable(
        pageSize: pageSize, indptr: RaggedIndptr(lengths: pages), indices: rows.flatMap { $0 },
        lastPageLength: zip(lengths, pages).map { Int32($0 - Swift.max($1 - 1, 0) * pageSize) })
    }
    let width = (pages.max() ?? 0) + 1
    let blocks = rows.flatMap { $0 + [Int32](repeating: -1, count: width - $0.count) }
    return PageTable(
      pageSize: pageSize, blocks: blocks, pagesPerRequest: width, lengths: lengths)
  }

  fileprivate func fill(_ view: TensorView, _ random: inout CaseRandom) {
    view.fillNormal(&random)
    guard isWild else { return }
    // Magnitudes around both ends of every range, exact ties, zeros and non-finite values.
    let wild: [Float] = [
      0, -0.0, 448, 464, 465, 57344, 61440, 65504, 65520, 1e5, -1e30, 3.4e38, 0x1p-10, 0x1.8p-10,
      0x1p-17, 0x1p-25, 0x1p-140, .infinity, -.infinity, .nan,
    ]
    view.forEachIndex { index in
      if random.chance(0.2) { view.set(random.pick(wild), index) }
    }
  }

  /// Runs the case on a back end and, on a second copy, on the reference: every byte must agree.
  func check(on backend: any Backend, random: CaseRandom) -> CaseOutcome {
    let found = AppendTensors(self, random: random)
    let expected = AppendTensors(self, random: random)
    return withExtendedLifetime((found, expected)) {
      Interruption.outcome { () throws(Interruption) in
        let (problem, arguments) = (found.problem, found.arguments)
        try Interruption.guarding("append") { () throws(ApusError) in
          try backend.append(problem, arguments, on: .synchronous)
        }
        let (sameProblem, sameArguments) = (expected.problem, expected.arguments)
        try Interruption.reference { () throws(ArgumentError) in
          try Reference.append(sameProblem, sameArguments)
        }
        let isCopy = self.source == self.cache && kScale == .one && vScale == .one
        return (found.differences(from: expected, payloadsOf: isCopy ? nil : self.cache), 0)
      }
    }
  }
}

extension AppendTensors {
  /// Differences in any byte; with `type`, two NaNs of that type are equal: their sign and payload
  /// are the back end's choice.
  fileprivate func differences(
    from other: AppendTensors, payloadsOf type: ElementType?
  ) -> [String] {
    var failures = memory.brokenGuards.map { "\($0) was written out of bounds" }
    for (mine, theirs) in zip(memory.buffers, other.memory.buffers) {
      let (found, wanted) = (mine.snapshot(), theirs.snapshot())
      guard found != wanted else { continue }
      let start = mine.snapshotOffset
      let differing = found.indices.filter { found[$0] != wanted[$0] }
      guard
        let first = differing.first(where: { index in
          guard let type, index >= start else { return true }
          let element = start + (index - start) / type.byteCount * type.byteCount
          return !(Self.isNaN(found, element, type) && Self.isNaN(wanted, element, type))
        })
      else { continue }
      failures.append(
        "\(mine.name): byte \(first - start) is \(found[first]), the definition writes "
          + "\(wanted[first]) (\(differing.count) bytes differ)")
    }
    return failures
  }

  private static func isNaN(_ bytes: [UInt8], _ at: Int, _ type: ElementType) -> Bool {
    guard at + type.byteCount <= bytes.count else { return false }
    return bytes[at..<at + type.byteCount].withUnsafeBytes { element in
      element.baseAddress.map { type.load($0, at: 0).isNaN } ?? false
    }
  }
}
