internal import ApusDSL
internal import ApusIR

/// One warp's ring of steps: it refills itself as it goes.
protocol DecodeRing {
  /// Fills the ring; `wait` stands between what the plan says and the first read of K or V.
  func start(_ wait: () -> Void)
  /// Waits for the next step; the result is the address of its K tiles, V tiles follow.
  func acquire() -> Value<U32>
  /// Gives the step back, read by all lanes, for a later one of the stream.
  func release()
  /// After the last step.
  func finish()
}

/// The next step of a warp that is to be loaded: a walk over the items of the block.
struct DecodeCursor {
  let context: DecodeContext
  /// Step of the block, and the item's first one and end.
  let step, begin, end: Variable<U32>
  let tokens, firstTile, base, unit, next: Variable<U32>
  /// Steps of the block.
  private let total: Value<U32>

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  /// Steps of the block from one of a warp to its next.
  var stride: Int { kernel.mode.interleavesTokens ? kernel.warps : 1 }

  /// At the warp's first step, in the block's first item.
  init(_ context: DecodeContext, _ first: DecodeItemValues) {
    self.context = context
    let block = context.block
    func zero(_ name: String) -> Variable<U32> { block.variable(0, as: U32.self, name) }
    step = block.variable(
      context.kernel.mode.interleavesTokens ? context.warp : context.u32(0), "loadStep")
    begin = zero("loadBegin")
    end = block.variable(first.end, "loadEnd")
    tokens = block.variable(first.tokens, "loadTokens")
    firstTile = block.variable(first.firstTile, "loadFirstTile")
    base = block.variable(first.base, "loadBase")
    unit = block.variable(first.unit, "loadUnit")
    total = first.total
    next = block.variable(first.next, "loadNext")
  }

  private func read(_ index: Value<U32>) {
    let record = context.parameters.items[index << 4]
    let low = block.load(record, count: 4, Caching(isReadOnly: true))
    let high = block.load(record[4], count: 4, Caching(isReadOnly: true))
    let item = DecodeItemValues(words: low + high)
    block.assign(end, item.end)
    block.assign(tokens, item.tokens)
    block.assign(firstTile, item.firstTile)
    block.assign(base, item.base)
    block.assign(unit, item.unit)
    block.assign(next, item.next)
  }

  /// Whether there is a step.
  var exists: Value<Pred> { step.value < total }

  /// Goes `count` steps of the warp on.
  func advance(_ count: Int = 1) {
    block.assign(step, step.value + stride * count)
    settle()
  }

  /// Finds the item of the step.
  func settle() {
    block.loop(while: { (step.value >= end.value) & exists }, form: .rolled) {
      block.assign(begin, end.value)
      read(next.value)
    }
  }

  /// The request's tile that the step begins with.
  var tile: Value<U32> { firstTile.value + (step.value - begin.value) * kernel.tilesPerStep }

  /// Whether tile `index` of the step has a token.
  func hasTokens(_ index: Int) -> Value<Pred> {
    ((step.value - begin.value) * kernel.tilesPerStep + index) << 4 < tokens.value
  }

  /// KV head of the warp, and index along the outermost axis if there are no pages.
  var place: (head: Value<U32>, outer: Value<U32>) {
    let first = kernel.isPaged ? unit.value : unit.value & 0xFFFF
    return (kernel.mode == .heads ? first + context.warp : first, unit.value >> 16)
  }

  /// Index in the page list, and what remains, of a position in units of `pageLength`.
  func page(_ position: Value<U32>) -> (index: Value<U32>, rest: Value<U32>) {
    let parameters = context.parameters
    let page = (position + 1).multipliedHigh(by: parameters.pageReciprocal)
    return (base.value + page, position - page * parameters.pageLength)
  }
}
