internal import ApusDSL
internal import ApusIR

/// Undoes what values that a row does not see did to it.
///
/// A value beyond a row's last key has weight 0 there, but stands in the same product as the row's
/// own: 0 · NaN and 0 · ∞ are NaN. Such rows are found behind the last product, where a NaN can be
/// told apart from those of the row's own scores, and computed again without tensor cores, one warp
/// a row, key by key. Only rows that really have a NaN or ∞ among the values hidden from them take
/// that way; all others pay for one test of each output register.
struct HiddenValues<Element: MatrixScalar> {
  private let block: Block
  private let configuration: DensePrefillConfiguration
  private let parameters: PrefillParameters<Element>
  private let rows:
    (
      queries: PrefillParameters<Element>.Rows, keys: PrefillParameters<Element>.Rows,
      values: PrefillParameters<Element>.Rows
    )
  private let work: PrefillWork
  private let statistics: [OnlineSoftmax.Row]
  private let warpRow: Value<U32>

  /// nil for kernels that hide no values.
  init?(
    _ block: Block, _ configuration: DensePrefillConfiguration,
    _ parameters: PrefillParameters<Element>, _ work: PrefillWork,
    _ statistics: [OnlineSoftmax.Row], warpRow: Value<U32>
  ) {
    guard let rows = parameters.rows else { return nil }
    self.block = block
    self.configuration = configuration
    self.parameters = parameters
    self.rows = rows
    self.work = work
    self.statistics = statistics
    self.warpRow = warpRow
  }

  /// Neighbouring columns of a lane: the head dimension over a warp.
  private var columnsOfLane: Int { configuration.headDim / warpSize }
  private var column: Value<U32> { block.laneIndex * columnsOfLane }

  /// Tests the finished rows of the warp and rewrites those that hidden values have reached.
  ///
  /// - Parameters:
  ///   - fragments: o as stored, in the layout of A fragments.
  ///   - write: stores a lane's columns of a row of the warp (0…15).
  func repair(
    _ fragments: [[Value<Element.Pair>]],
    write: (_ row: Value<U32>, _ column: Value<U32>, _ pairs: [Value<Element.Pair>]) -> Void
  ) {
    let suspects = statistics.indices.map { lanesWithNaN(fragments, half: $0) }
    block.when((suspects[0] | suspects[1]) != 0, .uniform) {
      block.phase("rows that hidden values made NaN")
      block.syncWarp()
      block.loop(block.constant(16, as: U32.self), form: .rolled) { row in
        let lanes = select(row < 8, suspects[0], suspects[1]).shifted(right: (row & 7) << 2) & 15
        let isStored = warpRow + row < parameters.qoLength
        block.when((lanes != 0) & isStored, .uniform) { repair(row, write) }
      }
    }
  }

  /// Lanes that hold a NaN of a row (of either half of the warp's rows) whose scores have none.
  private func lanesWithNaN(_ fragments: [[Value<Element.Pair>]], half: Int) -> Value<U32> {
    let zero = block.constant(0, as: Element.Pair.self)
    // 0 for numbers, NaN for NaN; stored infinities do not exist.
    let test = fragments.flatMap { [$0[half], $0[half + 2]] }
      .reduce(zero) { fma($1, zero, $0) }
    let hasNaN = (test.bitcast(to: U32.self) & 0x7FFF_7FFF) != 0
    let inverse = statistics[half].inverse
    return block.ballot(hasNaN & (inverse == inverse))
  }

  private func repair(
    _ row: Value<U32>,
    _ write: (_ row: Value<U32>, _ column: Value<U32>, _ pairs: [Value<Element.Pair>]) -> Void
  ) {
    // Keys that the row sees, and those whose tiles its block has visited.
    let sum = warpRow + row + parameters.kvLength + 1
    let seen = block.let(
      select(
        sum > parameters.qoLength, sum - parameters.qoLength, block.constant(0, as: U32.self)))
    let visited = min(work.keyTiles * configuration.tileKV, parameters.kvLength)
    let kvHead = work.head / parameters.groupSize
    let values = rows.values.start(head: kvHead, request: work.request)
    let finding = block.variable(0, as: F32.self, "finding")
    block.loop(from: seen, to: visited, form: .rolled, name: "hidden") { key in
      for value in load(values, rows.values, key) {
        block.assign(finding, fma(value, block.constant(0, as: F32.self), finding.value))
      }
    }
    block.when(block.any(finding.value != 0), .uniform) {
      let keys = rows.keys.start(head: kvHead, request: work.request)
      write(row, column, mean(row, seen: seen, keys, values))
    }
  }

  /// Σ p·v / l over the keys that the row sees, with its statistics as they are.
  private func mean(
    _ row: Value<U32>, seen: Value<U32>, _ keys: GlobalPointer<Element>,
    _ values: GlobalPointer<Element>
  ) -> [Value<Element.Pair>] {
    func own(_ path: KeyPath<OnlineSoftmax.Row, Value<F32>>) -> Value<F32> {
      let halves = statistics.map { $0[keyPath: path] }
      return select(
        row < 8, block.shuffle(halves[0], from: (row & 7) << 2),
        block.shuffle(halves[1], from: (row & 7) << 2))
    }
    let maximum = own(\.maximum)
    let inverse = own(\.inverse)
    let query = load(
      rows.queries.start(head: work.head, request: work.request), rows.queries, warpRow + row)
    let sums = query.map { _ in block.variable(0, as: F32.self, "sum") }
    block.loop(seen, form: .rolled, name: "key") { key in
      let products = zip(query, load(keys, rows.keys, key)).map { $0 * $1 }
      let score = block.warpSum(products.dropFirst().reduce(products[0]) { $0 + $1 })
      let weight = ex2(fma(score, parameters.scale, -maximum))
      for (sum, value) in zip(sums, load(values, rows.values, key)) {
        block.assign(sum, fma(weight, value, sum.value))
      }
    }
    return stride(from: 0, to: sums.count, by: 2).map { index in
      let pair = (sums[index].value * inverse).converted(
        to: Element.Pair.self, high: sums[index + 1].value * inverse)
      return Element.saturated(block, pair)
    }
  }

  /// A lane's columns of a row in binary32.
  private func load(
    _ start: GlobalPointer<Element>, _ rows: PrefillParameters<Element>.Rows, _ row: Value<U32>
  ) -> [Value<F32>] {
    let place = start[
      row.multipliedWide(by: rows.rowStride) + column.converted(to: U64.self)
    ].cast(to: Element.Pair.self)
    return block.load(place, count: columnsOfLane / 2).flatMap { pair in
      let (low, high) = Element.floats(pair)
      return [low, high]
    }
  }
}
