internal import ApusDSL
internal import ApusIR

/// The way of a finished tile to device memory: o = O / l rounded once, and lse.
extension PrefillConsumer {
  /// Writes the rows below qoLength.
  func store(_ work: PrefillWork, _ statistics: [OnlineSoftmax.Row]) {
    block.phase("store o and lse")
    block.update(output) { value, row, _ in value * statistics[row].inverse }
    let fragments = stride(from: 0, to: configuration.headDim, by: 16).map {
      block.operandA(output, column: $0, as: Element.Pair.self).map { Element.saturated(block, $0) }
    }
    if let lse = parameters.lse { storeLSE(lse, work, row: work.row + rowInTile, statistics) }
    let hidden = HiddenValues(
      block, configuration, parameters, work, statistics, warpRow: work.row + warpRow)
    switch parameters.output {
    case .map(let map): storeByTensorCopy(map, work, fragments, hidden)
    case .rows(let rows): storeDirectly(rows, work, fragments, hidden)
    }
  }

  /// Waits until the last output tile has left shared memory; the block may end then.
  func drainOutput() {
    guard shared.output != nil else { return }
    block.when(isLeader) { block.waitBulk(pending: 0, isReadOnly: true) }
  }

  /// One thread of each warpgroup issues its tensor stores.
  private var isLeader: Value<Pred> { (block.threadIndex & (warpgroupSize - 1)) == 0 }

  private func storeLSE(
    _ lse: PrefillParameters<Element>.RowsParameter<F32>, _ work: PrefillWork, row: Value<U32>,
    _ statistics: [OnlineSoftmax.Row]
  ) {
    guard let factor = parameters.lseFactor, let empty = parameters.emptyLSE else { return }
    let start = lse.start(head: work.head, request: work.request)
    for laneRow in 0..<output.laneRows {
      let row = row + output.rowOffset(laneRow)
      let value = statistics[laneRow].lse
      let isEmpty = value == -.infinity
      block.when((row < parameters.qoLength) & (block.laneColumn == 0)) {
        block.store(
          select(isEmpty, empty, value * factor),
          to: start[row.multipliedWide(by: lse.rowStride)])
      }
    }
  }

  /// Through shared memory in the tensor map's swizzle; the map clips rows beyond the end.
  private func storeByTensorCopy(
    _ map: TensorMapParameter, _ work: PrefillWork, _ fragments: [[Value<Element.Pair>]],
    _ hidden: HiddenValues<Element>?
  ) {
    guard let tiles = shared.output, let outputBarrier else { return }
    let tile = tiles[warpgroup]
    block.when(isLeader) { block.waitBulk(pending: 0, isReadOnly: true) }
    block.sync(outputBarrier[warpgroup])
    let first = (block.warpIndex & 3) * 16
    let row = block.let(first + (block.laneIndex & 15))
    for (step, registers) in fragments.enumerated() {
      // Matrices 0…3 of an A fragment: rows 0–7 and 8–15 of columns 0–7, then of columns 8–15.
      let place = tile[row, (block.laneIndex >> 1 & 8) + 16 * step]
      block.stmatrix(registers, to: place)
    }
    hidden?.repair(fragments) { row, column, pairs in
      block.store(pairs, to: tile[first + row, column].cast(to: Element.Pair.self))
    }
    block.fence(.proxyAsync(.shared))
    block.sync(outputBarrier[warpgroup])
    block.when(isLeader) {
      let zero = block.constant(0, as: S32.self)
      block.storeTensor(
        tile[0, 0], to: map,
        at: [
          zero, (work.row + warpgroup * 64).signed, zero, work.head.signed, work.request.signed,
        ])
      block.commitBulk()
    }
  }

  /// Pairs of columns straight from the fragments.
  private func storeDirectly(
    _ rows: PrefillParameters<Element>.Rows, _ work: PrefillWork,
    _ fragments: [[Value<Element.Pair>]],
    _ hidden: HiddenValues<Element>?
  ) {
    let start = rows.start(head: work.head, request: work.request)
    func place(_ row: Value<U32>, _ column: Value<U32>) -> GlobalPointer<Element.Pair> {
      start[row.multipliedWide(by: rows.rowStride) + column.converted(to: U64.self)]
        .cast(to: Element.Pair.self)
    }
    for laneRow in 0..<output.laneRows {
      let row = work.row + rowInTile + output.rowOffset(laneRow)
      block.when(row < parameters.qoLength) {
        let line = place(row, block.laneColumn)
        // Registers h and h + 2 of an A fragment: row half h, columns 0–7 and 8–15.
        for (step, registers) in fragments.enumerated() {
          block.store(registers[laneRow], to: line[8 * step])
          block.store(registers[laneRow + 2], to: line[8 * step + 4])
        }
      }
    }
    hidden?.repair(fragments) { row, column, pairs in
      block.store(pairs, to: place(work.row + warpRow + row, column))
    }
  }
}
