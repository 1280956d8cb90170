public import ApusDSL
internal import ApusIR
internal import ApusNumerics

extension DecodeKernel {
  /// Parameters (`DecodeParameters`), then per item: query rows, the warp's steps, merge, output.
  public func body(_ block: Block) {
    guard isValid(block) else { return }
    let context = DecodeContext(self, block)
    if overlaps { block.launchDependents() }
    let items = context.parameters.items
    let first = DecodeItemValues(items, block.blockIndex(), block)
    let inbox = mode.clusterSize > 1 ? DecodeInbox(context) : nil
    let ring: any DecodeRing =
      loader == .tensorMap
      ? TensorMapRing(context, first, others: inbox.map { [$0.full] } ?? [])
      : GatherRing(context, first)
    inbox?.announce()
    let merge = DecodeMerge(context, inbox)
    let tile = DecodeTile(context)
    let query = DecodeQuery(context)
    let state = DecodeState(context, tile, query)
    ring.start { if overlaps { block.waitForDependencies() } }

    let current = first.words.map { block.variable($0, "item") }
    let begin = block.variable(0, as: U32.self, "begin")
    // The warp's next step: with the warps interleaved over tokens, every `warps`-th of the block.
    let step = block.variable(
      mode.interleavesTokens ? context.warp : context.u32(0), "step")
    let stride = mode.interleavesTokens ? warps : 1
    block.loop(.rolled) {
      let item = DecodeItemValues(words: current.map(\.value))
      block.phase("query rows")
      query.load(item, codeScale: tile.codeScale)
      state.clear()
      // The last item's next is itself. Read early, if registers are to spare.
      let early = sharesQueries ? nil : DecodeItemValues(items, item.next, block)
      let range = DecodeRange(context, item, offset: step.value - begin.value)
      block.loop(while: { step.value < item.end }, form: .rolled) {
        let stage = ring.acquire()
        state.extend(stage, range)
        ring.release()
        range.advance(steps: stride)
        block.assign(step, step.value + stride)
      }
      merge.finish(item, state, codeScale: tile.codeScale)
      block.breakIf(item.isLast)
      if mode.interleavesTokens { block.syncThreads() } else { block.syncWarp() }
      block.assign(begin, item.end)
      let next = early ?? DecodeItemValues(items, item.next, block)
      for (word, value) in zip(current, next.words) { block.assign(word, value) }
    }
    ring.finish()
  }

  private func isValid(_ block: Block) -> Bool {
    let isCache = [.f16, .bf16, .e4m3, .e5m2].contains(cacheType)
    let isQuery = queryType == .bf16 || queryType == .f16 && cacheType != .bf16
    let isOutput = [.f16, .bf16, .f32].contains(outputType)
    block.require(
      isCache && isQuery && isOutput,
      "DecodeKernel: types must be 16-bit queries that the products hold, 16- or 8-bit caches and "
        + "f16, bf16 or f32 outputs; found \(queryType), \(cacheType), \(outputType).")
    let mostTiles = headDim > 160 ? 1 : headDim > 128 || mode == .heads ? 2 : 4
    let isShape =
      headDim % 32 == 0 && (32...256).contains(headDim) && [1, 2, 4].contains(rowTiles)
      && rowTiles <= mostTiles
    block.require(
      isShape,
      "DecodeKernel: headDim must be a multiple of 32 up to 256, rowTiles 1, 2 up to headDim 160, or 4 "
        + "up to headDim 128 in tokens mode; found \(headDim), \(rowTiles), \(mode).")
    let isPipeline =
      warps > 0 && warps & (warps - 1) == 0 && tilesPerBox > 0 && tilesPerStep % tilesPerBox == 0
      && (1...4).contains(stages) && stages * boxes <= DecodeSeeds.unitOffset
    block.require(
      isPipeline,
      "DecodeKernel: warps must be a power of two, steps whole boxes, and the ring at most 4 steps "
        + "and 12 boxes; found \(warps), \(tilesPerStep) by \(tilesPerBox), \(stages).")
    let isCluster = mode.clusterSize == 1 || rowTiles == 1 && loader == .tensorMap
    block.require(
      isCluster && headDim * 2 % mode.clusterSize == 0,
      "DecodeKernel: clusters must have one tile of rows, tensor copies and equal shares; found "
        + "\(rowTiles), \(loader), \(mode).")
    return isCluster && isCache && isQuery && isOutput && isShape && isPipeline
  }
}
