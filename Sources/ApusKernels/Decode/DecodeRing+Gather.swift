internal import ApusDSL
internal import ApusIR

/// Steps that arrive by `cp.async`, 16 bytes a lane: pages of any size, every GPU.
///
/// Lane l (and l + 16) finds the page of token l of a tile; shuffles hand the row's address to the
/// lanes that copy it. Tokens past the item's end become zeros. Each step is one group of each
/// lane's copies; steps that do not exist are empty groups, so that one wait suits all.
struct GatherRing: DecodeRing {
  let context: DecodeContext
  let cursor: DecodeCursor
  let ring: Value<U32>
  let stage: Variable<U32>
  /// Page and token in it of this lane's token in each tile of the cursor's step.
  let page, rest: [Variable<U32>]

  private var block: Block { context.block }
  private var kernel: DecodeKernel { context.kernel }

  init(_ context: DecodeContext, _ first: DecodeItemValues) {
    self.context = context
    let block = context.block
    let kernel = context.kernel
    let bytes = kernel.stages * kernel.stageBytes
    let shared = block.shared(
      "ring", U32.self, count: kernel.warps * bytes / 4, alignment: 1024)
    ring = context.warp * bytes + shared.pointer.address
    stage = block.variable(0, as: U32.self, "stage")
    page = (0..<kernel.tilesPerStep).map { _ in block.variable(0, as: U32.self, "page") }
    rest = (0..<kernel.tilesPerStep).map { _ in block.variable(0, as: U32.self, "rest") }
    cursor = DecodeCursor(context, first)
  }

  func start(_ wait: () -> Void) {
    wait()
    cursor.settle()
    fetch()
    for index in 0..<kernel.stages {
      copy(stage: context.u32(index))
      cursor.advance()
      fetch()
    }
  }

  /// Looks up where this lane's tokens of the cursor's step lie.
  private func fetch() {
    block.when(cursor.exists, .uniform) {
      for tile in 0..<kernel.tilesPerStep {
        let token = ((cursor.tile + tile) << 4) + (context.lane & 15)
        if kernel.isPaged {
          let (index, rest) = cursor.page(token)
          let safe = select(isToken(tile), index, cursor.base.value)
          block.assign(page[tile], block.load(context.parameters.pages[safe]))
          block.assign(self.rest[tile], rest)
        } else {
          block.assign(rest[tile], cursor.base.value + token)
        }
      }
    }
  }

  /// Whether this lane's token of a tile of the cursor's step is the item's.
  private func isToken(_ tile: Int) -> Value<Pred> {
    let first = ((cursor.step.value - cursor.begin.value) * kernel.tilesPerStep + tile) << 4
    return first + (context.lane & 15) < cursor.tokens.value
  }

  /// Copies the cursor's step, if there is one, into a stage.
  private func copy(stage: Value<U32>) {
    guard let keys = context.parameters.keys, let values = context.parameters.values else { return }
    let strides = context.parameters.strides
    let target = ring + stage * kernel.stageBytes
    block.when(cursor.exists, .uniform) {
      let (head, outer) = cursor.place
      for tile in 0..<kernel.tilesPerStep {
        let owner = kernel.isPaged ? page[tile].value : outer
        let rest = rest[tile].value
        let bytes = select(isToken(tile), context.u32(16), context.u32(0))
        for (part, source) in [keys, values].enumerated() {
          let row = mad(
            owner, strides[3 * part],
            mad(rest, strides[3 * part + 1], head * strides[3 * part + 2]))
          copy(
            source, rows: row, bytes: bytes,
            to: target + (part * kernel.stageBytes / 2 + tile * kernel.tileBytes))
        }
      }
    }
    block.commitAsync()
  }

  /// Copies 16 rows whose addresses, in units of 16 bytes, lanes 0…15 hold.
  private func copy(
    _ source: GlobalPointer<U32>, rows: Value<U32>, bytes: Value<U32>, to target: Value<U32>
  ) {
    let swizzle = kernel.swizzle
    let chunks = kernel.rowBytes / 16
    let panelChunks = swizzle.rowBytes / 16
    let shift = 7 - swizzle.rowBytes.trailingZeroBitCount
    // Several rows at once, or one row in several parts.
    let lanesPerRow = min(chunks, warpSize)
    guard chunks & (chunks - 1) == 0 else {
      // Widths that are no power of two: panel by panel.
      for panel in 0..<kernel.panels {
        let perRound = warpSize / panelChunks
        for round in 0..<16 / perRound {
          let lane = context.lane
          let row = (lane >> panelChunks.trailingZeroBitCount) + round * perRound
          let chunk = lane & (panelChunks - 1)
          move(source, rows, bytes, row, chunk, panel, target, shift, panelChunks)
        }
      }
      return
    }
    let perRound = warpSize / lanesPerRow
    for round in 0..<16 / perRound {
      let lane = context.lane
      let row = (lane >> lanesPerRow.trailingZeroBitCount) + round * perRound
      let chunk = lane & (lanesPerRow - 1)
      for part in stride(from: 0, to: chunks, by: lanesPerRow) {
        move(source, rows, bytes, row, chunk, part / panelChunks, target, shift, panelChunks)
      }
    }
  }

  private func move(
    _ source: GlobalPointer<U32>, _ rows: Value<U32>, _ bytes: Value<U32>, _ row: Value<U32>,
    _ chunk: Value<U32>, _ panel: Int, _ target: Value<U32>, _ shift: Int, _ panelChunks: Int
  ) {
    let swizzle = kernel.swizzle
    let phase = (row >> shift) & (panelChunks - 1)
    let within = ((chunk & (panelChunks - 1)) ^ phase) << 4
    let panelIndex = (chunk >> panelChunks.trailingZeroBitCount) + panel
    let place = panelIndex * (16 * swizzle.rowBytes) + row * swizzle.rowBytes + within
    let first = block.shuffle(rows, from: row)
    var unit = first + chunk + panel * panelChunks
    var count = block.shuffle(bytes, from: row)
    if kernel.rowChunks * 16 < kernel.rowBytes {
      // The chunk behind the row's last is padding: zeros, and no access.
      let isInside = chunk + panel * panelChunks < kernel.rowChunks
      unit = select(isInside, unit, first)
      count = select(isInside, count, context.u32(0))
    }
    block.copyAsync(
      from: source[unit.converted(to: U64.self) << 2],
      to: SharedPointer<U32>(address: target + place), sourceBytes: count)
  }

  func acquire() -> Value<U32> {
    block.waitAsync(pending: kernel.stages - 1)
    block.syncWarp()
    return ring + stage.value * kernel.stageBytes
  }

  /// Every copy was waited for: the groups that are left are empty.
  func finish() {}

  func release() {
    block.syncWarp()
    copy(stage: stage.value)
    cursor.advance()
    fetch()
    let next = stage.value + 1
    let isThrough = next == context.u32(kernel.stages)
    block.assign(stage, select(isThrough, context.u32(0), next))
  }
}
