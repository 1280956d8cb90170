internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// Where one step of a warp lies.
struct DecodePlace {
  /// Position of each box along the axis that tokens lie on; without pages the first row.
  let boxes: [Value<U32>]
  /// KV head, and index along the outermost axis if there are no pages.
  let head, outer: Value<U32>
  /// Whether there is such a step.
  let exists: Value<Pred>
}

/// How a ring finds the places of a warp's steps behind those that the plan states.
protocol DecodeWalk {
  /// Reads of the plan that may begin before K and V may be read; nothing waits for them.
  func prepare(skipping steps: Int)
  /// Goes past the first steps, which are on their way.
  func begin(skipping steps: Int)
  /// The next step. All lanes take part.
  func place() -> DecodePlace
  /// Goes to the step after it.
  func advance()
}

/// One step at a time: the page of a step is read while the one before it is copied.
struct StepWalk: DecodeWalk {
  let context: DecodeContext
  let cursor: DecodeCursor
  /// Page, and tile within it, of each box of the cursor's step; without pages the first row.
  private let page, rest: [Variable<U32>]

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext, _ first: DecodeItemValues) {
    self.context = context
    let (block, kernel) = (context.block, context.kernel)
    page = (0..<kernel.boxes).map { _ in block.variable(0, as: U32.self, "page") }
    rest = (0..<kernel.boxes).map { _ in block.variable(0, as: U32.self, "rest") }
    cursor = DecodeCursor(context, first)
  }

  func prepare(skipping steps: Int) {}

  func begin(skipping steps: Int) {
    cursor.advance(steps)
    fetch()
  }

  /// Looks up where the cursor's step lies.
  private func fetch() {
    block.when(cursor.exists, .uniform) {
      for box in 0..<kernel.boxes {
        let tile = cursor.tile + box * kernel.tilesPerBox
        let none = context.u32(DecodeSeeds.none)
        // The first tile of a step has tokens.
        let valid = box == 0 ? block.constant(true) : cursor.hasTokens(box * kernel.tilesPerBox)
        if kernel.isPaged {
          let (index, rest) = cursor.page(tile)
          let safe = box == 0 ? index : select(valid, index, cursor.base.value)
          block.assign(page[box], block.load(context.parameters.pages[safe]))
          block.assign(self.rest[box], box == 0 ? rest : select(valid, rest, none))
        } else {
          let row = cursor.base.value + (tile << 4)
          block.assign(rest[box], box == 0 ? row : select(valid, row, none))
        }
      }
    }
  }

  func place() -> DecodePlace {
    let boxes = (0..<kernel.boxes).map { box in
      guard kernel.isPaged else { return rest[box].value }
      let place = page[box].value * context.parameters.pagePitch + rest[box].value
      return box == 0
        ? place : select(rest[box].value == DecodeSeeds.none, rest[box].value, place)
    }
    let (head, outer) = cursor.place
    return DecodePlace(boxes: boxes, head: head, outer: outer, exists: cursor.exists)
  }

  func advance() {
    cursor.advance()
    fetch()
  }
}

/// A window of 32 steps at a time: each lane reads the page of one of them, while the window before
/// is copied, and the record of the item after next is on its way. Steps cost a shuffle each, and no
/// step waits for the plan.
///
/// Windows end with their item, so that a window has one head.
struct WindowWalk: DecodeWalk {
  let context: DecodeContext
  /// The window: where each lane's step lies, by box; the steps that are used up; steps; unit.
  private let places: [Variable<U32>]
  private let index, count, unit: Variable<U32>
  /// The next window: what the page list says, tile within the page (or row), steps, unit.
  private let nextPages, nextRests: [Variable<U32>]
  private let nextCount, nextUnit: Variable<U32>
  /// First step behind the next window; item of that window, and where the item begins.
  private let step, begin: Variable<U32>
  private let item: [Variable<U32>]
  /// Half of the record after the item's.
  private let ahead: [Variable<U32>]
  private let total: Value<U32>

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }
  /// Steps of the block from one of a warp to its next.
  private var stride: Int { kernel.mode.interleavesTokens ? kernel.warps : 1 }

  init(_ context: DecodeContext, _ first: DecodeItemValues) {
    self.context = context
    let (block, kernel) = (context.block, context.kernel)
    func zero(_ name: String) -> Variable<U32> { block.variable(0, as: U32.self, name) }
    func perBox(_ name: String) -> [Variable<U32>] { (0..<kernel.boxes).map { _ in zero(name) } }
    places = perBox("place")
    index = zero("windowIndex")
    count = zero("windowCount")
    unit = zero("windowUnit")
    nextPages = perBox("nextPage")
    nextRests = perBox("nextRest")
    nextCount = zero("nextCount")
    nextUnit = zero("nextUnit")
    step = block.variable(
      kernel.mode.interleavesTokens ? context.warp : context.u32(0), "windowStep")
    begin = zero("windowBegin")
    item = first.words.prefix(8).map { block.variable($0, "windowItem") }
    ahead = (0..<8).map { _ in zero("ahead") }
    total = first.total
  }

  private var values: DecodeItemValues { DecodeItemValues(words: item.map(\.value)) }

  /// Reads the record behind the item's without waiting for it.
  private func readAhead(_ next: Value<U32>) {
    let record = context.parameters.items[next << 4]
    let words = [0, 4].flatMap {
      block.load(record[$0], count: 4, Caching(isReadOnly: true))
    }
    for (variable, word) in zip(ahead, words) { block.assign(variable, word) }
  }

  func prepare(skipping steps: Int) {
    block.assign(step, step.value + stride * steps)
    block.when(step.value < total, .uniform) {
      readAhead(values.next)
      block.when(step.value < values.end, .uniform) { lookUp() }
    }
  }

  func begin(skipping steps: Int) {}

  /// Fills the next window with the steps of the item from `step` on, of which there is one.
  private func lookUp() {
    let item = values
    let left = item.end - step.value
    let count = min((left + (stride - 1)) / stride, context.u32(warpSize))
    let first = (step.value - begin.value + context.lane * stride) * kernel.tilesPerStep
    for box in 0..<kernel.boxes {
      let tile = first + box * kernel.tilesPerBox
      let valid = (context.lane < count) & (tile << 4 < item.tokens)
      let position = item.firstTile + tile
      let none = context.u32(DecodeSeeds.none)
      if kernel.isPaged {
        let parameters = context.parameters
        let page = (position + 1).multipliedHigh(by: parameters.pageReciprocal)
        let rest = position - page * parameters.pageLength
        let safe = item.base + select(valid, page, context.u32(0))
        block.assign(
          nextPages[box], block.load(parameters.pages[safe], Caching(isReadOnly: true)))
        block.assign(nextRests[box], select(valid, rest, none))
      } else {
        block.assign(nextRests[box], select(valid, item.base + (position << 4), none))
      }
    }
    block.assign(nextCount, count)
    block.assign(nextUnit, item.unit)
    block.assign(step, step.value + count * stride)
  }

  /// Makes the next window the window, and looks up the one behind.
  private func refill() {
    for (box, place) in places.enumerated() {
      let rest = nextRests[box].value
      let exact =
        kernel.isPaged ? nextPages[box].value * context.parameters.pagePitch + rest : rest
      block.assign(
        place, kernel.isPaged ? select(rest == DecodeSeeds.none, rest, exact) : exact)
    }
    block.assign(count, nextCount.value)
    block.assign(unit, nextUnit.value)
    block.assign(index, 0)
    block.assign(nextCount, 0)
    block.when(step.value < total, .uniform) {
      block.loop(while: { step.value >= item[0].value }, form: .rolled) {
        block.assign(begin, item[0].value)
        for (variable, word) in zip(item, ahead) { block.assign(variable, word.value) }
        prefetchQueries()
        readAhead(values.next)
      }
      lookUp()
    }
  }

  /// Brings the query rows of the item to L2 before its steps begin.
  private func prefetchQueries() {
    guard kernel.prefetchesQueries, !kernel.hasRanges else { return }
    let parameters = context.parameters
    let item = values
    let lines = (kernel.headDim * kernel.queryType.byteCount + 127) / 128
    let row = context.lane >> 2
    let line = context.lane & 3
    block.when((row < item.rowCount) & (line < lines), .predicated) {
      let head = context.keyHead(item) * parameters.group + row
      let start =
        item.queryRow.multipliedWide(by: parameters.queryRow)
        + head.multipliedWide(by: parameters.queryHead)
      block.prefetch(parameters.queries[start][line << 5], into: .l2)
    }
  }

  func place() -> DecodePlace {
    // Twice at the first step, if the plan states no further steps of the first item.
    let goesOn = { (nextCount.value > 0) | (step.value < total) }
    block.loop(while: { (index.value == count.value) & goesOn() }, form: .rolled) { refill() }
    let unit = unit.value
    let first = kernel.isPaged ? unit : unit & 0xFFFF
    return DecodePlace(
      boxes: places.map { block.shuffle($0.value, from: index.value) },
      head: kernel.mode == .heads ? first + context.warp : first, outer: unit >> 16,
      exists: index.value < count.value)
  }

  func advance() { block.assign(index, min(index.value + 1, count.value)) }
}
