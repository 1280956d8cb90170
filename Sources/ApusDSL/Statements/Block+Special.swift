public import ApusIR

extension Block {
  /// Thread 0… within the block.
  public var threadIndex: Value<U32> { emitter.value(.special(.threadIndex(.x)), name: "thread") }

  /// Lane 0…31 within the warp.
  public var laneIndex: Value<U32> { emitter.value(.special(.laneIndex), name: "lane") }

  /// Warp 0… within the block: the same register content in all lanes, by a shuffle, so that the
  /// compiler knows branches on it to be uniform.
  public var warpIndex: Value<U32> {
    let warp = threadIndex >> 5
    return emitter.value(
      .warp(.shfl(.idx, width: warpSize, members: Op.allLanes)),
      [warp.operand, .constant(.u32(0))], name: "warp")
  }

  /// Block index within the grid.
  public func blockIndex(_ axis: Op.Axis = .x) -> Value<U32> {
    emitter.value(.special(.blockIndex(axis)), name: "block")
  }

  /// Blocks of the grid.
  public func gridSize(_ axis: Op.Axis = .x) -> Value<U32> {
    emitter.value(.special(.gridSize(axis)), name: "grid")
  }

  /// Thread index within the grid along x.
  public var globalThreadIndex: Value<U32> {
    let block = blockIndex()
    return mad(block, constant(launch.threads, as: U32.self), threadIndex)
  }

  /// Any register that has 32 bits.
  public func special(
    _ register: Op.SpecialRegister, file: String = #fileID, line: Int = #line
  ) -> Value<U32> {
    if register.type != .u32 {
      emitter.fail(
        "special: must be a register of 32 bits; found \(register).",
        at: SourceLocation(fileID: file, line: line))
      return Value(operand: .constant(.u32(0)), emitter: emitter)
    }
    return emitter.value(.special(register))
  }

  /// A mask of the lanes below this one.
  public var lanesBelow: Value<U32> { special(.lanesBelow) }

  /// Nanoseconds of the GPU's clock, of coarse resolution; each use reads it anew.
  public func globalTimer(file: String = #fileID, line: Int = #line) -> Value<U64> {
    emitter.value(.special(.globalTimer), at: emitter.settle(file, line))
  }

  /// Cycles of the multiprocessor; each use reads them anew.
  public func clock(file: String = #fileID, line: Int = #line) -> Value<U64> {
    emitter.value(.special(.clock64), at: emitter.settle(file, line))
  }
}
