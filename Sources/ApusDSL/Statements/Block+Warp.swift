public import ApusIR

extension Block {
  /// Each lane receives `value` of lane i XOR `mask`, within segments of `width` lanes.
  public func shuffle<T: WordScalar>(
    _ value: Value<T>, xor mask: Int, width: Int = warpSize, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let location = emitter.settle(file, line)
    return shuffle(.bfly, value, emitter.u32(mask, at: location), width, location)
  }

  /// Each lane receives `value` of lane i − `distance`; the first ones keep their own.
  public func shuffle<T: WordScalar>(
    _ value: Value<T>, up distance: Int, width: Int = warpSize, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let location = emitter.settle(file, line)
    return shuffle(.up, value, emitter.u32(distance, at: location), width, location)
  }

  /// Each lane receives `value` of lane i + `distance`; the last ones keep their own.
  public func shuffle<T: WordScalar>(
    _ value: Value<T>, down distance: Int, width: Int = warpSize, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let location = emitter.settle(file, line)
    return shuffle(.down, value, emitter.u32(distance, at: location), width, location)
  }

  /// Each lane receives `value` of lane `source`.
  public func shuffle<T: WordScalar>(
    _ value: Value<T>, from source: Value<U32>, width: Int = warpSize, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    shuffle(.idx, value, source.operand, width, emitter.settle(file, line))
  }

  private func shuffle<T: WordScalar>(
    _ mode: Op.ShuffleMode, _ value: Value<T>, _ lane: Operand, _ width: Int,
    _ location: SourceLocation
  ) -> Value<T> {
    emitter.requireOwn(value.emitter, at: location)
    return emitter.value(
      .warp(.shfl(mode, width: width, members: Op.allLanes)), [value.operand, lane],
      at: location)
  }

  /// Whether the condition holds in all lanes.
  public func all(
    _ condition: Value<Pred>, file: String = #fileID, line: Int = #line
  ) -> Value<Pred> {
    vote(.all, condition, emitter.settle(file, line))
  }

  /// Whether the condition holds in any lane.
  public func any(
    _ condition: Value<Pred>, file: String = #fileID, line: Int = #line
  ) -> Value<Pred> {
    vote(.any, condition, emitter.settle(file, line))
  }

  /// Bit i: the condition in lane i.
  public func ballot(
    _ condition: Value<Pred>, file: String = #fileID, line: Int = #line
  ) -> Value<U32> {
    vote(.ballot, condition, emitter.settle(file, line))
  }

  private func vote<R: Scalar>(
    _ mode: Op.VoteMode, _ condition: Value<Pred>, _ location: SourceLocation
  ) -> Value<R> {
    emitter.value(
      .warp(.vote(mode, members: Op.allLanes)), [condition.operand], at: location)
  }

  /// True in one lane of the warp; sm_90a.
  public func electOne(file: String = #fileID, line: Int = #line) -> Value<Pred> {
    emitter.value(
      .warp(.elect(members: Op.allLanes)), name: "elected", at: emitter.settle(file, line))
  }

  /// Waits for all lanes of the warp and orders their memory accesses.
  public func syncWarp(file: String = #fileID, line: Int = #line) {
    emitter.perform(
      .warp(.syncWarp(members: Op.allLanes)), at: emitter.settle(file, line))
  }
}
