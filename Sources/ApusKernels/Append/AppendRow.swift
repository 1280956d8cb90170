internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// A strided tensor of the cache or of its scales: `[pages, slot and head in any order]` of rows.
struct CacheParameters {
  private let base: GlobalPointer<U32>
  private let page: Value<U64>
  private let slot: Value<U64>
  private let head: Value<U64>

  init(_ block: Block, _ name: String, alignment: Int) {
    base = block.pointer(name, to: U32.self, alignment: alignment)
    page = block.parameter("\(name)Page", U64.self)
    slot = block.parameter("\(name)Slot", U64.self)
    head = block.parameter("\(name)Head", U64.self)
  }

  func row(_ place: AppendPlace, head index: Value<U32>) -> GlobalPointer<U32> {
    let inPage = mad(place.slot, slot, index.converted(to: U64.self) * head)
    return base.advanced(bytes: mad(place.page, page, inPage))
  }
}

/// Keys or values of one token and head: parameters, and what the kernel does to them.
struct AppendRow {
  private let kernel: AppendKernel
  private let storing: AppendKernel.Storing
  private let rounds: Int
  private let source: GlobalPointer<U32>?
  private let tokenStride: Value<U64>?
  private let headStride: Value<U64>?
  private let accesses: Value<U32>?
  private let cache: CacheParameters?
  private let tensorScale: Value<F32>?
  private let headScales: GlobalPointer<F32>?
  private let scales: CacheParameters?

  init(
    _ block: Block, _ name: String, _ kernel: AppendKernel, _ storing: AppendKernel.Storing,
    rounds: Int
  ) {
    self.kernel = kernel
    self.storing = storing
    self.rounds = rounds
    let isPresent = storing != .absent
    source =
      isPresent ? block.pointer(name, to: U32.self, alignment: min(16, kernel.sourceBytes)) : nil
    tokenStride = isPresent ? block.parameter("\(name)Token", U64.self) : nil
    headStride = isPresent ? block.parameter("\(name)Head", U64.self) : nil
    accesses = isPresent ? block.parameter("\(name)Accesses", U32.self) : nil
    cache =
      isPresent
      ? CacheParameters(block, "\(name)Cache", alignment: min(16, kernel.cacheBytes)) : nil
    tensorScale = storing == .divide ? block.parameter("\(name)Scale", F32.self) : nil
    headScales =
      storing == .divide ? block.pointer("\(name)HeadScales", to: F32.self, alignment: 4) : nil
    scales = storing == .dynamic ? CacheParameters(block, "\(name)Scales", alignment: 4) : nil
  }

  /// The lane's words, access after access; zeros behind the row.
  func load(
    _ block: Block, token: Value<U32>, head: Value<U32>, lane: Value<U32>
  ) -> [[Value<U32>]] {
    guard let source, let tokenStride, let headStride, let accesses else { return [] }
    let offset = mad(
      token.converted(to: U64.self), tokenStride, head.converted(to: U64.self) * headStride)
    let row = source.advanced(
      bytes: offset + lane.multipliedWide(by: kernel.sourceBytes))
    return (0..<rounds).map { round in
      let words = (0..<max(1, kernel.sourceBytes / 4)).map { _ in
        block.variable(0, as: U32.self, "x")
      }
      block.when(lane + round * kernel.lanes < accesses) {
        let loaded = block.loadWords(
          row.advanced(bytes: round * kernel.lanes * kernel.sourceBytes),
          bytes: kernel.sourceBytes, .once)
        for (word, value) in zip(words, loaded) { block.assign(word, value) }
      }
      return words.map(\.value)
    }
  }

  /// What divides the row: nil for nothing, else one value for all lanes of the group.
  func scale(
    _ block: Block, rows: [[Value<U32>]], head: Value<U32>
  ) -> Value<F32>? {
    if let tensorScale, let headScales {
      // Without values per head their address is 0.
      let scale = block.variable(tensorScale, "scale")
      block.when(headScales.address != 0) {
        block.assign(scale, block.load(headScales[head]))
      }
      return scale.value
    }
    guard storing == .dynamic else { return nil }
    let zero = block.constant(0, as: F32.self)
    let magnitudes = rows.flatMap { words in
      block.widen(words, kernel.source, count: kernel.width).map { abs($0) }
    }
    // Of the finite elements only; NaN compares false.
    let own = magnitudes.map { select($0 < .infinity, $0, zero) }
      .reduce(zero) { max($0, $1) }
    let amax = block.warpMax(own, lanes: kernel.lanes)
    let largest = block.constant(kernel.cache.greatestFiniteMagnitude, as: F32.self)
    let quotient = div(amax, largest)
    return select(
      quotient >= .leastNormalMagnitude, quotient, block.constant(1, as: F32.self))
  }

  /// Writes the lane's share of the row, and lane 0 a dynamic scale.
  func store(
    _ block: Block, _ words: [[Value<U32>]], _ scale: Value<F32>?, _ place: AppendPlace,
    head: Value<U32>, lane: Value<U32>
  ) {
    guard let cache, let accesses else { return }
    let row = cache.row(place, head: head)
      .advanced(bytes: lane.multipliedWide(by: kernel.cacheBytes))
    for (round, words) in words.enumerated() {
      block.when(lane + round * kernel.lanes < accesses) {
        block.storeWords(
          stored(block, words, scale),
          to: row.advanced(bytes: round * kernel.lanes * kernel.cacheBytes),
          bytes: kernel.cacheBytes)
      }
    }
    if let scales, let scale {
      block.when(lane == 0) {
        block.store(scale, to: scales.row(place, head: head).cast(to: F32.self))
      }
    }
  }

  private func stored(
    _ block: Block, _ words: [Value<U32>], _ scale: Value<F32>?
  ) -> [Value<U32>] {
    if storing == .copy { return words }
    let values = block.widen(words, kernel.source, count: kernel.width)
    guard let scale else { return block.narrow(values, kernel.cache) }
    return block.narrow(values.map { div($0, scale) }, kernel.cache)
  }
}
