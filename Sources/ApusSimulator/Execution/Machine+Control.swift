import ApusIR

extension Machine {
  /// Control flow; begins and ends of regions keep the active mask.
  func executeControl(_ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch i.action {
    case .ifBegin(let isUniform): beginIf(isUniform, i, warp)
    case .thenEnd:
      let top = warp.stack.count - 1
      warp.stack[top].done |= warp.mask
      warp.stack[top].skip = i.target
      if warp.stack[top].pending != 0 {
        warp.mask = warp.stack[top].pending
        warp.stack[top].pending = 0
        warp.stack[top].kind = .else
        warp.pc += 1
      } else {
        warp.mask = 0
        warp.pc = i.target
      }
    case .ifEnd:
      warp.mask |= warp.stack.removeLast().done
      warp.pc += 1
    case .loopBegin:
      warp.stack.append(Warp.Frame(kind: .loop, skip: i.target, start: warp.pc + 1))
      warp.pc += 1
    case .loopEnd:
      let top = warp.stack.count - 1
      warp.mask |= warp.stack[top].continued
      warp.stack[top].continued = 0
      if warp.mask != 0 {
        warp.pc = warp.stack[top].start
      } else {
        warp.mask = warp.stack.removeLast().done
        warp.pc += 1
      }
    case .rolesBegin(let table): return beginRole(code.tables[table], i, warp)
    case .roleEnd: warp.pc = i.target
    case .halt: finish(warp)
    default: return executeLeaf(i, warp)
    }
    return .jumped
  }

  private func beginIf(_ isUniform: Bool, _ i: Code.Instruction, _ warp: Warp) {
    let taken = warp.lanes(where: i.inputs[0]) & warp.mask
    let other = warp.mask & ~taken
    if isUniform, taken != 0, other != 0 {
      report(.notUniform, warp, lanes: other)
    }
    warp.stack.append(
      Warp.Frame(
        kind: .then, pending: i.hasElse ? other : 0, done: i.hasElse ? 0 : other, skip: i.target,
        start: 0))
    warp.mask = taken
    warp.pc += 1
  }

  private func beginRole(
    _ table: [Code.RoleStart], _ i: Code.Instruction, _ warp: Warp
  ) -> Outcome {
    let index = Int(uniform(i.inputs[0], warp))
    guard let role = table.first(where: { $0.range.contains(index) }) else {
      warp.pc = i.target
      return .jumped
    }
    if let count = role.registers, !setRegisters(count, warp) { return .wait }
    warp.pc = role.start
    return .jumped
  }

  /// Changes the budget of a warp; false while the block has too few registers.
  private func setRegisters(_ count: Int, _ warp: Warp) -> Bool {
    let more = (count - warp.registersPerThread) * warpSize
    guard more <= warp.block.freeRegisters else { return false }
    warp.block.freeRegisters -= more
    warp.registersPerThread = count
    if more < 0 { progress += 1 }
    return true
  }

  private func executeLeaf(_ i: Code.Instruction, _ warp: Warp) -> Outcome {
    switch i.action {
    case .breakIf, .continueIf:
      let leaving = warp.lanes(where: i.inputs[0]) & warp.mask
      guard let loop = warp.stack.lastIndex(where: { $0.kind == .loop }) else { return .next }
      if case .breakIf = i.action {
        warp.stack[loop].done |= leaving
      } else {
        warp.stack[loop].continued |= leaving
      }
      warp.mask &= ~leaving
      return .next
    case .exit:
      warp.mask = 0
      return .next
    case .trap:
      report(.trap, warp, lanes: warp.mask)
      isAborted = true
      return .next
    case .sleep:
      warp.forEachLane { lane in
        if warp.get(i.inputs[0], lane) > 1_000_000 {
          report(
            .invalidOperand("sleep takes at most 1000000 ns; found more"), warp,
            lanes: 1 << UInt32(lane))
        }
      }
      return .next
    case .setMaxRegisters(let change, let count):
      guard checkCollective(.max, warp) else { return .next }
      let isDecrease = count <= warp.registersPerThread
      if (change == .decrease) != isDecrease, count != warp.registersPerThread {
        report(
          .invalidOperand(
            "setmaxnreg must \(change) the budget \(warp.registersPerThread); found \(count)"),
          warp, lanes: warp.mask)
      }
      return setRegisters(count, warp) ? .next : .wait
    default: return .next
    }
  }

  /// The warp's threads have ended.
  private func finish(_ warp: Warp) {
    warp.isFinished = true
    let group = warp.block.warps.filter { $0.index / 4 == warp.index / 4 }
    if program.hasProducts, group.allSatisfy(\.isFinished),
      group.contains(where: { $0.state.pointee.groupDigest != warp.state.pointee.groupDigest })
    {
      report(
        .barrier("all four warps of a warpgroup must execute the same products and waits"), warp,
        lanes: .max)
    }
    if clusterSize > 1, warp.block.warps.allSatisfy(\.isFinished) { checkEnd(of: warp.block, warp) }
    warp.block.freeRegisters += warp.registersPerThread * warpSize
    if warp.openCopies.contains(where: { !$0.isEmpty })
      || warp.groups.contains(where: { $0.contains { !$0.isEmpty } })
    {
      report(.missingWait("the destination of a copy of this thread"), warp, lanes: .max)
    }
    if !warp.openProducts.isEmpty || warp.productGroups.contains(where: { !$0.isEmpty }) {
      report(.missingWait("an accumulator of this warp"), warp, lanes: .max)
    }
    if warp.openBulk.contains(where: { !$0.isEmpty })
      || warp.bulkGroups.contains(where: { $0.contains { !$0.isEmpty } })
    {
      report(.missingWait("the shared source of a store of this thread"), warp, lanes: .max)
    }
  }
}
