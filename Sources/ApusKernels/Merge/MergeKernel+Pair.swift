internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

extension MergeKernel {
  func mergePair(_ block: Block) {
    block.startDependents()
    let a = StateParameters(block, "a", alignment: inputBytes)
    let b = StateParameters(block, "b", alignment: inputBytes)
    let o = StateParameters(block, "o", alignment: min(16, outputBytes))
    let mask = form == .maskedPair ? block.pointer("mask", to: U8.self, alignment: 1) : nil
    let maskStride = form == .maskedPair ? block.parameter("maskStride", U64.self) : nil
    let heads = block.parameter("heads", U32.self)
    let cells = block.parameter("cells", U32.self)
    let accesses = block.parameter("accesses", U32.self)
    let cell = MergeCell(block, lanes: lanes, heads: heads, cells: cells)

    block.phase("weights")
    let states = (0..<2).map { _ in block.variable(-.infinity, as: F32.self, "s") }
    let flag = block.variable(1, as: U32.self, "flag")
    block.when(cell.isInside) {
      for (state, input) in zip(states, [a, b]) {
        block.assign(state, block.load(input.logit(cell.row, cell.head)))
      }
      if let mask, let maskStride {
        block.assign(flag, block.load(mask.advanced(bytes: cell.row * maskStride)).word)
      }
    }
    let (sa, sb) = (states[0].value, states[1].value)
    let isWritten = cell.isInside & (flag.value != 0)
    // The output's s may be an input's: every lane of the group has read it when one writes.
    block.syncWarp()
    let hasA = isPresent(sa)
    let hasB = isPresent(sb)
    let none = block.constant(-.infinity, as: F32.self)
    let zero = block.constant(0, as: F32.self)
    let m = max(select(hasA, sa, none), select(hasB, sb, none))
    let wa = select(hasA, weight(sa, m), zero)
    let wb = select(hasB, weight(sb, m), zero)
    let total = wa + wb
    let inverse = normaliser(block, total)
    let fa = block.let(wa * inverse)
    let fb = block.let(wb * inverse)

    block.when(isWritten) {
      block.phase("v = wa va + wb vb")
      let aRow = a.vectors(cell.row, cell.head)
      let bRow = b.vectors(cell.row, cell.head)
      let oRow = o.vectors(cell.row, cell.head)
      block.loop(from: cell.lane, to: accesses, step: lanes * Self.depth, form: .rolled) { first in
        let indices = (0..<Self.depth).map { first + $0 * lanes }
        let words = indices.map { index -> ([Value<U32>], [Value<U32>]) in
          // Past the end: its own first access again, because others may be writing theirs.
          let read = select(index < accesses, index, first)
          let offset = read.multipliedWide(by: inputBytes)
          return (
            block.loadWords(aRow.advanced(bytes: offset), bytes: inputBytes, .once),
            block.loadWords(bRow.advanced(bytes: offset), bytes: inputBytes, .once)
          )
        }
        for (index, (aWords, bWords)) in zip(indices, words) {
          let va = block.widen(block.zeroed(aWords, unless: hasA), input, count: width)
          let vb = block.widen(block.zeroed(bWords, unless: hasB), input, count: width)
          let merged = zip(va, vb).map { $0 * fa + $1 * fb }
          block.when(index < accesses) {
            block.storeWords(
              block.narrow(merged, output),
              to: oRow.advanced(bytes: index.multipliedWide(by: outputBytes)),
              bytes: outputBytes)
          }
        }
      }
      block.phase("s = m + log(wa + wb)")
      block.when(cell.lane == 0) {
        block.store(logSumExp(block, m, total), to: o.logit(cell.row, cell.head))
      }
    }
  }
}
