internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

extension MergeKernel {
  func mergeMany(_ block: Block) {
    block.startDependents()
    let input = StateParameters(block, "states", alignment: inputBytes)
    let vState = block.parameter("statesVState", U64.self)
    let sState = block.parameter("statesSState", U64.self)
    let o = StateParameters(block, "o", alignment: min(16, outputBytes))
    let states = block.parameter("states", U32.self)
    let heads = block.parameter("heads", U32.self)
    let cells = block.parameter("cells", U32.self)
    let accesses = block.parameter("accesses", U32.self)
    let cell = MergeCell(block, lanes: lanes, heads: heads, cells: cells)
    let logits = input.logit(cell.row, cell.head)
    func logit(_ state: Value<U32>) -> Value<F32> {
      block.load(logits.advanced(bytes: state.converted(to: U64.self) * sState))
    }
    let none = block.constant(-.infinity, as: F32.self)
    let zero = block.constant(0, as: F32.self)

    block.phase("m = max s")
    let greatest = block.variable(none, "m")
    block.loop(from: cell.lane, to: states, step: lanes) { state in
      let s = logit(state)
      block.assign(greatest, max(greatest.value, select(isPresent(s), s, none)))
    }
    let m = block.warpMax(greatest.value, lanes: lanes)

    block.when(cell.isInside) {
      let rows = input.vectors(cell.row, cell.head)
      let oRow = o.vectors(cell.row, cell.head)
      // A row without elements has its s all the same: lane 0 makes one round for it.
      block.loop(
        from: cell.lane, to: max(accesses, block.constant(1, as: U32.self)),
        step: lanes * Self.depth, form: .rolled
      ) { first in
        let sums = (0..<Self.depth).map { _ in
          (0..<width).map { _ in block.variable(zero, "v") }
        }
        let total = block.variable(zero, "d")
        let indices = (0..<Self.depth).map { first + $0 * lanes }
        block.phase("d += w; v += w v")
        block.loop(
          from: block.constant(0, as: U32.self), to: states, step: Self.statesAtOnce, form: .rolled
        ) { firstState in
          let slots = (0..<Self.statesAtOnce).map { firstState + $0 }
          let clamped = slots.map { min($0, states - 1) }
          let values = clamped.map { logit($0) }
          let words = clamped.map { state in
            indices.map { index in
              loadGuarded(block, rows, state, vState, index, accesses)
            }
          }
          for slot in slots.indices {
            let hasState = isPresent(values[slot]) & (slots[slot] < states)
            let w = select(hasState, weight(values[slot], m), zero)
            block.assign(total, total.value + w)
            for part in indices.indices {
              let v = block.widen(
                block.zeroed(words[slot][part], unless: hasState), self.input, count: width)
              for (sum, x) in zip(sums[part], v) { block.assign(sum, fma(w, x, sum.value)) }
            }
          }
        }
        let d = total.value
        let inverse = normaliser(block, d)
        for (index, sum) in zip(indices, sums) {
          block.when(index < accesses) {
            block.storeWords(
              block.narrow(sum.map { $0.value * inverse }, output),
              to: oRow.advanced(bytes: index.multipliedWide(by: outputBytes)),
              bytes: outputBytes)
          }
        }
        block.when(first == 0) {
          block.store(logSumExp(block, m, d), to: o.logit(cell.row, cell.head))
        }
      }
    }
  }

  /// The access `index` of a state's row; of a row without accesses zeros.
  private func loadGuarded(
    _ block: Block, _ rows: GlobalPointer<U32>, _ state: Value<U32>, _ vState: Value<U64>,
    _ index: Value<U32>, _ accesses: Value<U32>
  ) -> [Value<U32>] {
    let words = (0..<max(1, inputBytes / 4)).map { _ in block.variable(0, as: U32.self, "x") }
    block.when(index < accesses) {
      let place = mad(
        state.converted(to: U64.self), vState, index.multipliedWide(by: inputBytes))
      let loaded = block.loadWords(rows.advanced(bytes: place), bytes: inputBytes, .once)
      for (word, value) in zip(words, loaded) { block.assign(word, value) }
    }
    return words.map(\.value)
  }
}
