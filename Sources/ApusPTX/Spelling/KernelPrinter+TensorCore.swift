import ApusIR

extension KernelPrinter {
  /// Fragments and products.
  mutating func print(_ op: Op.TensorCore) throws(PTXError) {
    switch op {
    case .ldmatrix(let access):
      line("ldmatrix\(access.suffix) \(results()), \(try address(0, access.offset))")
    case .stmatrix(let access):
      line(
        "stmatrix\(access.suffix) \(try address(0, access.offset)), "
          + (try registers(1..<max(1, node.operands.count))))
    case .mma(let shape): try mma(shape)
    case .wgmma(let shape): try wgmma(shape)
    case .wgmmaFence: line("wgmma.fence.sync.aligned")
    case .wgmmaCommit: line("wgmma.commit_group.sync.aligned")
    case .wgmmaWait(let pending): line("wgmma.wait_group.sync.aligned \(pending)")
    }
  }

  private mutating func mma(_ shape: Op.MMAShape) throws(PTXError) {
    let first = max(0, shape.accumulatorCount)
    let second = first + max(0, shape.aCount)
    let third = second + max(0, shape.bCount)
    if areRegisters(0..<third) {
      begin(
        "mma.sync.aligned.m16n8k\(shape.k).row.col.\(shape.accumulator).\(shape.a).\(shape.b)"
          + ".\(shape.accumulator)")
      writeOperands(0..<first)
      for range in [first..<second, second..<third, 0..<first] {
        writeComma()
        writeOperands(range)
      }
      return finishLine()
    }
    let accumulators = try registers(0..<first)
    let a = try registers(first..<second)
    let b = try registers(second..<third)
    line(
      "mma.sync.aligned.m16n8k\(shape.k).row.col.\(shape.accumulator).\(shape.a).\(shape.b)"
        + ".\(shape.accumulator) \(accumulators), \(a), \(b), \(accumulators)")
  }

  private mutating func wgmma(_ shape: Op.WGMMAShape) throws(PTXError) {
    let first = max(0, shape.accumulatorCount)
    let b = first + shape.aCount
    var text = "wgmma.mma_async.sync.aligned.m64n\(shape.n)k\(shape.k).\(shape.accumulator)"
    text += ".\(shape.a).\(shape.b)"
    let head = text
    let a =
      areRegisters(first..<b)
      ? nil : shape.aInRegisters ? try registers(first..<b) : try register(first)
    text = ", \(try register(b)), \(try register(b + 1))"
    text += ", \(shape.negatesA ? -1 : 1), \(shape.negatesB ? -1 : 1)"
    // Only 16-bit elements say how they lie, and A only where it lies in memory.
    if shape.a.bitWidth == 16 {
      if !shape.aInRegisters { text += ", \(shape.transposesA ? 1 : 0)" }
      text += ", \(shape.transposesB ? 1 : 0)"
    }
    guard areRegisters(0..<first) else {
      throw malformed("must have accumulators in registers", found: "a constant or none")
    }
    begin(head)
    writeOperands(0..<first)
    writeComma()
    if let a {
      write(a)
    } else if shape.aInRegisters {
      writeOperands(first..<b)
    } else {
      writeOperand(first)
    }
    finishLine(text)
  }
}

extension Op.MatrixAccess {
  fileprivate var suffix: String {
    ".sync.aligned.m8n8.x\(count)\(isTransposed ? ".trans" : "").shared.b16"
  }
}
