internal import ApusDSL
internal import ApusIR

/// Softmax of rows whose scores come tile by tile: running maximum m and sum l of each lane row.
///
/// For scores x of a tile and s = scale · log₂e, with m in units of s · x:
/// ```
/// m' = max(m, s · max x)    p = 2^(s·x − m')    f = 2^(m − m')    l' = f·l + Σ p
/// ```
/// and the output so far is to be multiplied by f. Whatever m is rounded to, p, f and l agree on it.
/// Sources: arXiv 1805.02867 (online softmax), 2205.14135 (tiles). Lazy rescaling: m may lag behind
/// the maximum by `lazyThreshold`, which moves p and l alike and cancels in o = Σ p·v / l.
///
/// m never falls below a finite number, so that −∞ scores have weight 2^(−∞) = 0 and a row of them
/// alone keeps l = 0. NaN scores do not become the maximum but make their own weight NaN.
struct OnlineSoftmax {
  /// Weights reach 2^8, which 16-bit floats and their sums hold with ease.
  static let lazyThreshold: Float = 8
  /// The least m: scores below are as good as −∞ beside any other, and alone overflow anyway.
  static let floor = -Float.greatestFiniteMagnitude / 2

  private let maxima: [Variable<F32>]
  private let sums: [Variable<F32>]
  private let scale: Value<F32>
  private let isLazy: Bool

  /// Statistics of the rows that a lane holds of a tile.
  ///
  /// - Parameter scale: s, positive and normal.
  init(_ block: Block, laneRows: Int, scale: Value<F32>, isLazy: Bool) {
    maxima = (0..<laneRows).map { _ in block.variable(F32.self, "rowMax") }
    sums = (0..<laneRows).map { _ in block.variable(F32.self, "rowSum") }
    self.scale = scale
    self.isLazy = isLazy
  }

  /// Replaces the first tile of scores by their weights.
  func start(_ block: Block, _ tile: RegisterTile) {
    for row in maxima.indices {
      let floor = block.constant(Self.floor, as: F32.self)
      block.assign(maxima[row], rowMax(block, tile, row, atLeast: floor))
    }
    exponentiate(block, tile)
    for row in sums.indices { block.assign(sums[row], rowSum(block, tile, row)) }
  }

  /// Replaces a further tile of scores by their weights.
  ///
  /// - Returns: the factors f for what was accumulated with the weights of earlier tiles.
  func update(_ block: Block, _ tile: RegisterTile) -> [Value<F32>] {
    let factors = maxima.indices.map { row in
      let old = block.let(maxima[row].value)
      var new = rowMax(block, tile, row, atLeast: old)
      if isLazy {
        new = select(new - old > Self.lazyThreshold, new, old)
      }
      let factor = ex2(old - new)
      block.assign(maxima[row], new)
      return factor
    }
    exponentiate(block, tile)
    for row in sums.indices {
      block.assign(sums[row], fma(sums[row].value, factors[row], rowSum(block, tile, row)))
    }
    return factors
  }

  /// Statistics of a finished row.
  struct Row {
    /// The reference m that its weights are relative to.
    let maximum: Value<F32>
    /// 1 ÷ l, or 0 for a row without weights.
    let inverse: Value<F32>
    /// log₂ Σ 2^(s·x), −∞ for a row without weights.
    let lse: Value<F32>
  }

  /// Adds up the four lanes' shares of each row: call once, behind the last tile.
  func finish(_ block: Block) -> [Row] {
    maxima.indices.map { row in
      let sum = block.warpSum(sums[row].value, lanes: 4)
      // A NaN sum is not 0 and stays.
      let inverse = select(sum == 0, block.constant(0, as: F32.self), rcp(sum))
      let maximum = block.let(maxima[row].value)
      return Row(maximum: maximum, inverse: inverse, lse: maximum + lg2(sum))
    }
  }

  /// The running maxima, for `Block.pin`.
  var currentMaxima: [Value<F32>] { maxima.map(\.value) }

  /// The running sums, for `Block.pin`: they need every exponential.
  var currentSums: [Value<F32>] { sums.map(\.value) }

  private func exponentiate(_ block: Block, _ tile: RegisterTile) {
    let references = maxima.map { -$0.value }
    block.update(tile) { value, row, _ in ex2(fma(value, scale, references[row])) }
  }

  private func rowMax(
    _ block: Block, _ tile: RegisterTile, _ row: Int, atLeast least: Value<F32>
  ) -> Value<F32> {
    max(block.warpMax(combined(tile, row) { max($0, $1) }, lanes: 4) * scale, least)
  }

  /// The lane's share only: the other lanes' are added in `finish`.
  private func rowSum(_ block: Block, _ tile: RegisterTile, _ row: Int) -> Value<F32> {
    block.let(combined(tile, row) { $0 + $1 })
  }

  /// Two chains, so that each operation need not wait for the one before it.
  private func combined(
    _ tile: RegisterTile, _ row: Int,
    _ combine: (_ a: Value<F32>, _ b: Value<F32>) -> Value<F32>
  ) -> Value<F32> {
    let values = tile.row(row).map { $0.variable.value }
    let chains = (0..<2).map { chain in
      stride(from: chain + 2, to: values.count, by: 2).reduce(values[chain]) {
        combine($0, values[$1])
      }
    }
    return combine(chains[0], chains[1])
  }
}
