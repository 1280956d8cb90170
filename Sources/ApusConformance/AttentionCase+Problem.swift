internal import ApusCore
internal import ApusNumerics

extension AttentionCase {
  /// The problem of the case; page order, garbage entries and mask bits come from `random`.
  func problem(_ random: inout CaseRandom) -> AttentionProblem {
    var modification = ScoreModification(
      softmaxScale: softmaxScale, logitsSoftCap: softCap, rope: rope)
    if hasAlibi {
      modification.alibiSlopes = ScoreModification.alibiSlopes(headCount: shape.qoHeadCount)
    }
    var mask = AttentionMask(isCausal: isCausal, windowLeft: windowLeft)
    if let customMask { mask.custom = drawMask(&random, order: customMask) }
    return AttentionProblem(
      shape: shape, types: types, qoIndptr: indptr(qoLengths), geometry: geometry(&random),
      layout: layout, latent: latent, mask: mask, modification: modification,
      lseConvention: convention, options: options)
  }

  /// Consecutive rows, behind two foreign ones where the case has unowned rows.
  private func indptr(_ lengths: [Int]) -> RaggedIndptr {
    let base = RaggedIndptr(lengths: lengths)
    return hasUnownedRows ? RaggedIndptr(base.offsets.map { $0 + 2 }) : base
  }

  private func drawMask(_ random: inout CaseRandom, order: BitOrder) -> CustomMask {
    var bytes: [UInt8] = []
    var offsets: [Int] = [0]
    for (qo, kv) in zip(qoLengths, kvLengths) {
      // Bits behind the last pair, and a spare byte, are nobody's: they hold garbage.
      let count = (qo * kv + 7) / 8 + (hasUnownedRows ? 1 : 0)
      var packed = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let density = random.pick([0.1, 0.5, 0.9])
      for i in 0..<qo {
        let isBlind = random.chance(0.1)
        for j in 0..<kv {
          let index = i * kv + j
          if !isBlind && random.chance(density) {
            packed[index >> 3] |= order.bit(index)
          } else {
            packed[index >> 3] &= ~order.bit(index)
          }
        }
      }
      bytes += packed
      offsets.append(bytes.count)
    }
    return CustomMask(bytes: bytes, byteIndptr: RaggedIndptr(offsets), bitOrder: order)
  }

  private func geometry(_ random: inout CaseRandom) -> KVGeometry {
    switch form {
    case .ragged: return .ragged(indptr(kvLengths))
    case .padded:
      let maxLength = (kvLengths.max() ?? 0) + (hasUnownedRows ? 3 : 0)
      return .padded(maxLength: maxLength, lengths: kvLengths)
    case .csr(let size), .blockTable(let size):
      let pages = drawPages(&random, pageSize: size)
      return .paged(pageTable(pages, pageSize: size))
    }
  }

  /// Pages of each request: a shuffled pool with spare pages; sharing takes the first pages of the
  /// request before.
  private func drawPages(_ random: inout CaseRandom, pageSize: Int) -> [[Int32]] {
    let counts = kvLengths.map { ($0 + pageSize - 1) / pageSize }
    let spare = hasUnownedRows ? 3 : 0
    let pool = random.permutation(counts.reduce(0, +) + spare)
    var next = 0
    var result: [[Int32]] = []
    for (r, count) in counts.enumerated() {
      var pages: [Int32] = []
      if sharesPages, r > 0 { pages += result[r - 1].prefix(count / 2 + 1).prefix(count) }
      while pages.count < count {
        pages.append(Int32(pool[next]))
        next += 1
      }
      result.append(pages)
    }
    return result
  }

  /// The table of the given pages, with garbage where the contract ignores entries.
  func pageTable(_ pages: [[Int32]], pageSize: Int) -> PageTable {
    let garbage: Int32 = hasUnownedRows ? -1 : 1 << 30
    if case .blockTable = form {
      let width = (pages.map(\.count).max() ?? 0) + (hasUnownedRows ? 2 : 0)
      let blocks = pages.flatMap { row in
        row + [Int32](repeating: garbage, count: width - row.count)
      }
      return PageTable(
        pageSize: pageSize, blocks: blocks, pagesPerRequest: width, lengths: kvLengths)
    }
    let foreign = hasUnownedRows ? [garbage, garbage] : []
    let last = zip(kvLengths, pages).map { length, row in
      row.isEmpty ? garbage : Int32(length - (row.count - 1) * pageSize)
    }
    return PageTable(
      pageSize: pageSize, indptr: indptr(pages.map(\.count)),
      indices: foreign + pages.flatMap { $0 } + foreign, lastPageLength: last)
  }
}

extension AttentionProblem {
  /// Extents of a cache tensor before its last dimension.
  func cacheExtents(unowned: Bool) -> [Int] {
    let spare = unowned ? 2 : 0
    let heads = shape.kvHeadCount
    func ordered(_ tokens: Int) -> [Int] {
      layout == .nhd ? [tokens, heads] : [heads, tokens]
    }
    switch geometry {
    case .ragged(let indptr): return ordered(indptr.end + spare)
    case .padded(let maxLength, let lengths): return [lengths.count] + ordered(maxLength)
    case .paged(let table): return [table.greatestPage + 1 + spare] + ordered(table.pageSize)
    }
  }

  /// Offset in elements of the row of a token and head in a cache tensor (or token-head scale) with
  /// an explicit head dimension.
  func cacheOffset(_ view: TensorView, _ r: Int, _ token: Int, _ head: Int) -> Int {
    func inner(_ token: Int, _ first: Int) -> Int {
      layout == .nhd
        ? token * view.strides[first] + head * view.strides[first + 1]
        : head * view.strides[first] + token * view.strides[first + 1]
    }
    switch geometry {
    case .ragged(let indptr): return inner(indptr.offsets[r] + token, 0)
    case .padded: return r * view.strides[0] + inner(token, 1)
    case .paged(let table):
      let page = table.page(r, token / table.pageSize)
      return page * view.strides[0] + inner(token % table.pageSize, 1)
    }
  }
}
