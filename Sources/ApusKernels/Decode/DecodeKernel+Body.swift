public import ApusDSL
internal import ApusIR
internal import ApusNumerics

extension DecodeKernel {
  /// Parameters (`DecodeParameters`), then per item: query rows, the warp's steps, merge, output.
  public func body(_ block: Block) {
    guard isValid(block) else { return }
    let context = DecodeContext(self, block)
    if overlaps, dependents == .start { block.launchDependents() }
    let items = context.parameters.items
    let first = DecodeItemValues(items, block.blockIndex(), block)
    let inbox = mode.clusterSize > 1 ? DecodeInbox(context) : nil
    let ring: any DecodeRing =
      loader == .tensorMap
      ? TensorMapRing(context, first, others: inbox.map { [$0.full] } ?? [])
      : GatherRing(context, first)
    inbox?.announce()
    let merge = DecodeMerge(context, inbox)
    let unit: any DecodeUnit =
      if case .cores(let rows) = arithmetic { CoreUnit(context, rows: rows) } else {
        TensorCoreUnit(context)
      }
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
      unit.load(item)
      unit.clear()
      // The last item's next is itself. Read early, if registers are to spare.
      let early = sharesQueries ? nil : DecodeItemValues(items, item.next, block)
      let range = DecodeRange(
        context, item, rows: unit.laneRows, offset: step.value - begin.value)
      block.loop(while: { step.value < item.end }, form: .rolled) {
        let stage = ring.acquire()
        unit.extend(stage, range)
        ring.release()
        range.advance(steps: stride)
        block.assign(step, step.value + stride)
      }
      if overlaps, dependents == .end {
        block.when(item.isLast, .uniform) { block.launchDependents() }
      }
      merge.finish(item, unit)
      block.breakIf(item.isLast)
      if mode.interleavesTokens { block.syncThreads() } else { block.syncWarp() }
      block.assign(begin, item.end)
      let next = early ?? DecodeItemValues(items, item.next, block)
      for (word, value) in zip(current, next.words) { block.assign(word, value) }
    }
    ring.finish()
  }

  private func isValid(_ block: Block) -> Bool {
    let violations = violations
    for violation in violations { block.require(false, "DecodeKernel: \(violation).") }
    return violations.isEmpty
  }
}
