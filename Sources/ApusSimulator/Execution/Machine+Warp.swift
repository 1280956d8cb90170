import ApusIR

extension Machine {
  func execute(_ op: Op.Warp, _ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch op {
    case .shfl(let mode, let width, let members):
      if checkCollective(members, warp) { shuffle(mode, width, i, warp) }
    case .vote(let mode, let members):
      guard checkCollective(members, warp) else { return .next }
      let ballot = warp.lanes(where: i.inputs[0]) & members
      let result: UInt32 =
        switch mode {
        case .all: ballot == members ? 1 : 0
        case .any: ballot != 0 ? 1 : 0
        case .uni: ballot == 0 || ballot == members ? 1 : 0
        case .ballot: ballot
        }
      warp.forEachLane { warp.set(i.outputs[0], $0, UInt64(result)) }
    case .redux(let op, let members):
      if checkCollective(members, warp) { reduce(op, i, warp) }
    case .elect(let members):
      guard checkCollective(members, warp) else { return .next }
      let elected = members.trailingZeroBitCount
      warp.forEachLane { warp.set(i.outputs[0], $0, $0 == elected ? 1 : 0) }
    case .matchAny(let members):
      guard checkCollective(members, warp) else { return .next }
      warp.forEachLane { lane in
        let mine = warp.get(i.inputs[0], lane)
        var same: UInt32 = 0
        warp.forEachLane { other in
          if warp.get(i.inputs[0], other) == mine { same |= 1 << UInt32(other) }
        }
        warp.set(i.outputs[0], lane, UInt64(same))
      }
    case .matchAll(let members):
      guard checkCollective(members, warp) else { return .next }
      let first = warp.get(i.inputs[0], members.trailingZeroBitCount & 31)
      var isSame = true
      warp.forEachLane { if warp.get(i.inputs[0], $0) != first { isSame = false } }
      warp.forEachLane { lane in
        warp.set(i.outputs[0], lane, isSame ? UInt64(members) : 0)
        warp.set(i.outputs[1], lane, isSame ? 1 : 0)
      }
    case .syncWarp(let members): if checkCollective(members, warp) { warp.meet() }
    case .movmatrix:
      guard checkCollective(.max, warp) else { return .next }
      let source = (0..<warpSize).map { warp.get32(i.inputs[0], $0) }
      func element(_ row: Int, _ column: Int) -> UInt32 {
        source[4 * row + column / 2] >> UInt32(16 * (column % 2)) & 0xFFFF
      }
      for lane in 0..<warpSize {
        let (row, column) = (lane / 4, 2 * (lane % 4))
        warp.set(
          i.outputs[0], lane, UInt64(element(column, row) | element(column + 1, row) << 16))
      }
    }
    return .next
  }

  private func shuffle(
    _ mode: Op.ShuffleMode, _ width: Int, _ i: Code.Instruction, _ warp: Warp
  ) {
    var copy = (SIMD32<UInt32>)(repeating: 0)
    for lane in 0..<warpSize { copy[lane] = warp.get32(i.inputs[0], lane) }
    let source = copy
    let mask = warp.mask
    var undefined: UInt32 = 0
    warp.forEachLane { lane in
      let operand = Int(warp.get32(i.inputs[1], lane) & 31)
      let first = lane / width * width
      let last = first + width - 1
      let from: Int
      let isInRange: Bool
      switch mode {
      case .up: (from, isInRange) = (lane - operand, lane - operand >= first)
      case .down: (from, isInRange) = (lane + operand, lane + operand <= last)
      case .bfly: (from, isInRange) = (lane ^ operand, lane ^ operand <= last)
      case .idx: (from, isInRange) = (first + operand % width, true)
      }
      let origin = isInRange ? from : lane
      if mask >> UInt32(origin) & 1 == 0 { undefined |= 1 << UInt32(lane) }
      warp.set(i.outputs[0], lane, UInt64(source[origin]))
      if i.outputs.count > 1 { warp.set(i.outputs[1], lane, isInRange ? 1 : 0) }
    }
    warp.undefinedLanes = undefined
  }

  private func reduce(_ op: Op.ReductionOp, _ i: Code.Instruction, _ warp: Warp) {
    let isSigned = i.inputs[0].type == .s32
    var result: UInt32?
    warp.forEachLane { lane in
      let x = warp.get32(i.inputs[0], lane)
      guard let old = result else {
        result = x
        return
      }
      let isLess = isSigned ? Int32(bitPattern: old) < Int32(bitPattern: x) : old < x
      result =
        switch op {
        case .add: old &+ x
        case .min: isLess ? old : x
        case .max: isLess ? x : old
        case .and: old & x
        case .or: old | x
        case .xor: old ^ x
        }
    }
    warp.forEachLane { warp.set(i.outputs[0], $0, UInt64(result ?? 0)) }
  }
}
