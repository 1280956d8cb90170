internal import ApusDSL
internal import ApusIR

/// Which tokens of a warp's step count.
///
/// Without ranges, those before the item's end; with them, each row sees an interval of its own, and
/// tokens outside of all intervals are dead.
struct DecodeRange {
  private let context: DecodeContext
  /// Tokens from the step's first one to the item's end, or the step's first token.
  private let position: Variable<S32>
  /// First token and end of each of the lane's rows.
  private var starts: [Value<S32>] = []
  private var ends: [Value<S32>] = []
  /// Least start, greatest start, least end, greatest end.
  private var bounds: [Value<S32>] = []
  /// What ALiBi adds, and the custom mask.
  private(set) var bias: DecodeBias?
  private var mask: DecodeMaskBits?

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  private var stepTokens: Int { 16 * kernel.tilesPerStep }

  /// - Parameters:
  ///   - rows: rows of the item that the lane has scores of.
  ///   - offset: steps of the block between the item's first one and the warp's.
  init(
    _ context: DecodeContext, _ item: DecodeItemValues, rows: [Value<U32>], offset: Value<U32>
  ) {
    self.context = context
    let block = context.block
    let step = 16 * context.kernel.tilesPerStep
    guard context.kernel.hasRanges, let window = context.parameters.window,
      let isCausal = context.parameters.isCausal
    else {
      position = block.variable((item.tokens - offset * step).bitcast(to: S32.self), "left")
      return
    }
    position = block.variable(
      ((item.firstTile << 4) + offset * step).bitcast(to: S32.self), "position")
    let length = item.kvLength.bitcast(to: S32.self)
    let first = length - item.qoLength.bitcast(to: S32.self)
    let zero = block.constant(0, as: S32.self)
    let last = item.qoLength - 1
    func query(_ row: Value<U32>) -> Value<U32> { min(context.place(item, row: row).query, last) }
    func interval(_ row: Value<U32>) -> (start: Value<S32>, end: Value<S32>) {
      let own = first + query(row).bitcast(to: S32.self)
      return (
        max(own - window, zero), select(isCausal != 0, min(own + 1, length), length)
      )
    }
    let intervals = rows.map { interval($0) }
    starts = intervals.map(\.start)
    ends = intervals.map(\.end)
    let (low, high) = (interval(context.u32(0)), interval(item.rowCount - 1))
    bounds = [low.start, high.start, low.end, high.end]
    bias = DecodeBias(
      context, item, rows: rows,
      positions: rows.map { first + query($0).bitcast(to: S32.self) })
    mask = DecodeMaskBits(context, item, queries: rows.map { query($0) })
  }

  /// Whether every step has tokens to be asked for one by one.
  var masksEveryStep: Bool { mask != nil }

  /// An exponent of 2 with what ALiBi adds at token `index` of the step.
  func biased(_ exponent: Value<F32>, _ index: Value<U32>, row: Int) -> Value<F32> {
    bias.map {
      $0.added(to: exponent, token: position.value + index.bitcast(to: S32.self), row: row)
    }
      ?? exponent
  }

  /// Whether a token of the step does not count for every row: the same in all lanes.
  var cutsStep: Value<Pred> {
    guard kernel.hasRanges else { return position.value < stepTokens }
    return (position.value < bounds[1]) | (position.value + stepTokens > bounds[2])
  }

  /// Whether the lane's row `row` sees token `index` of the step.
  func isVisible(_ index: Value<U32>, row: Int) -> Value<Pred> {
    let index = index.bitcast(to: S32.self)
    guard kernel.hasRanges else { return index < position.value }
    let token = position.value + index
    let isInRange = (token >= starts[row]) & (token < ends[row])
    return mask.map {
      $0.isVisible(token.bitcast(to: U32.self), row: row, if: isInRange)
    } ?? isInRange
  }

  /// Whether no row sees token `index` of the step.
  func isDead(_ index: Value<U32>) -> Value<Pred> {
    let index = index.bitcast(to: S32.self)
    guard kernel.hasRanges else { return index >= position.value }
    let token = position.value + index
    return (token < bounds[0]) | (token >= bounds[3])
  }

  /// Whether the item has tokens that some of its rows see and others do not: the same in all lanes.
  var mixesRows: Value<Pred> {
    masksEveryStep
      ? block.constant(true) : (bounds[0] < bounds[1]) | (bounds[2] < bounds[3])
  }

  /// Whether some rows may see token `index` of the step and others not; with ranges.
  func isMixed(_ index: Value<U32>) -> Value<Pred> {
    let token = position.value + index.bitcast(to: S32.self)
    let isSeen = (token >= bounds[0]) & (token < bounds[3])
    return masksEveryStep
      ? isSeen : isSeen & ((token < bounds[1]) | (token >= bounds[2]))
  }

  /// Goes to the warp's next step.
  func advance(steps: Int) {
    let tokens = stepTokens * steps
    block.assign(position, kernel.hasRanges ? position.value + tokens : position.value - tokens)
  }
}
