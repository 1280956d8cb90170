internal import ApusCore
internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

/// The end of a warp's work: rows of o and lse, or a partial state of each row.
struct GeneralOutput {
  private let kernel: GeneralAttentionKernel
  private let parameters: GeneralParameters
  private let tile: GeneralTile
  private let lane: GeneralLane

  init(
    _ block: Block, _ kernel: GeneralAttentionKernel, _ parameters: GeneralParameters,
    _ tile: GeneralTile, _ lane: GeneralLane
  ) {
    self.kernel = kernel
    self.parameters = parameters
    self.tile = tile
    self.lane = lane
  }

  /// Writes the states by the first lane group.
  @discardableResult
  func write(_ block: Block, _ states: [GeneralState]) -> [GeneralState] {
    block.when(lane.group == 0) {
      block.when(tile.slot == 0xFFFF_FFFF) {
        block.phase("o = sum / (l + sink) / oScale; lse = m + log l")
        for (row, state) in states.enumerated() {
          block.when(tile.rowCount > row) { finish(block, state, row) }
        }
      } otherwise: {
        block.phase("partial states")
        for (row, state) in states.enumerated() {
          block.when(tile.rowCount > row) { leave(block, state, row) }
        }
      }
    }
    return states
  }

  private func finish(_ block: Block, _ state: GeneralState, _ row: Int) {
    let finish = parameters.finish
    let (m, l) = (state.m.value, state.l.value)
    let place = [tile.row(row), tile.heads[row].converted(to: U64.self)]
    let (isEmpty, factor, divisor) = finish.scales(
      block, m: m, l: l, head: tile.heads[row], kvHead: tile.kvHead)
    let zero = block.constant(0, as: F32.self)
    let output = finish.o.row(place)
    for number in 0..<kernel.valueAccesses {
      let access = lane.access(number)
      block.when(access < parameters.valueAccesses) {
        let values = (0..<kernel.width).map { element in
          let sum = state.o[number * kernel.width + element].value
          return select(isEmpty, zero, div(sum * factor, divisor))
        }
        block.whenType(kernel.output, is: finish.type) { type in
          let bytes = kernel.width * type.byteCount
          block.storeWords(
            block.narrow(values, type),
            to: output.advanced(bytes: access.multipliedWide(by: bytes)), bytes: bytes)
        }
      }
    }
    block.when(lane.index == 0) {
      finish.storeLSE(block, m: m, l: l, row: place[0], head: place[1])
    }
  }

  private func leave(_ block: Block, _ state: GeneralState, _ row: Int) {
    let finish = parameters.finish
    let cell =
      tile.slot.multipliedWide(by: parameters.kvHeads) + tile.kvHead.converted(to: U64.self)
    let rows = parameters.tileRows.converted(to: U64.self)
    let index = cell * rows + (parameters.rowOffset + row).converted(to: U64.self)
    let output = finish.partialO[index * finish.dim.converted(to: U64.self)]
    for number in 0..<kernel.valueAccesses {
      let access = lane.access(number)
      block.when(access < parameters.valueAccesses) {
        let first = output[access * kernel.width]
        let values = (0..<kernel.width).map { state.o[number * kernel.width + $0].value }
        for part in stride(from: 0, to: kernel.width, by: 4) {
          block.store(
            Array(values[part..<min(part + 4, kernel.width)]), to: first[part])
        }
      }
    }
    block.when(lane.index == 0) {
      block.store([state.m.value, state.l.value], to: finish.partialStates[index * 2])
    }
  }
}
