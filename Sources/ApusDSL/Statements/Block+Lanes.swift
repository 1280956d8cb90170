public import ApusIR

/// What a lane receives from another one, and whether there was such a lane in its segment.
public struct ShuffledValue<T: WordScalar> {
  /// The source lane's value; the lane's own if there was no source.
  public let value: Value<T>
  /// Whether the source lay within the segment.
  public let isInRange: Value<Pred>
}

extension Block {
  /// Any shuffle, with the lane operand computed by the kernel and the range predicate.
  ///
  /// - Parameters:
  ///   - lane: counted as `mode` says.
  ///   - width: lanes of a segment, a power of two.
  ///   - members: the lanes that take part: all that are here.
  public func shuffle<T: WordScalar>(
    _ mode: Op.ShuffleMode, _ value: Value<T>, lane: Value<U32>, width: Int = warpSize,
    members: UInt32 = Op.allLanes, file: String = #fileID, line: Int = #line
  ) -> ShuffledValue<T> {
    let location = emitter.settle(file, line)
    emitter.requireOwn(value.emitter, at: location)
    emitter.requireOwn(lane.emitter, at: location)
    let results = emitter.builder.emit(
      .warp(.shfl(mode, width: width, members: members)), [value.operand, lane.operand],
      results: [T.type, .pred], at: location)
    return ShuffledValue(
      value: Value(operand: .value(results[0]), emitter: emitter),
      isInRange: Value(operand: .value(results[1]), emitter: emitter))
  }

  /// Whether the condition is the same in all members.
  public func agree(
    _ condition: Value<Pred>, members: UInt32 = Op.allLanes, file: String = #fileID,
    line: Int = #line
  ) -> Value<Pred> {
    emitter.value(
      .warp(.vote(.uni, members: members)), [condition.operand],
      at: emitter.settle(file, line))
  }

  /// A vote of some lanes.
  public func vote(
    _ mode: Op.VoteMode, _ condition: Value<Pred>, members: UInt32, file: String = #fileID,
    line: Int = #line
  ) -> Value<Pred> {
    if mode == .ballot {
      elaborationFailure(
        "vote: mode must give a truth value; found ballot. Use ballot(_:members:).", file: file,
        line: line)
    }
    return emitter.value(
      .warp(.vote(mode == .ballot ? .any : mode, members: members)), [condition.operand],
      at: emitter.settle(file, line))
  }

  /// Bit i: the condition in lane i of the members.
  public func ballot(
    _ condition: Value<Pred>, members: UInt32, file: String = #fileID, line: Int = #line
  ) -> Value<U32> {
    emitter.value(
      .warp(.vote(.ballot, members: members)), [condition.operand],
      at: emitter.settle(file, line))
  }

  /// `value` combined over the members in one instruction, the same result in each.
  public func reduceLanes(
    _ op: Op.ReductionOp, _ value: Value<U32>, members: UInt32 = Op.allLanes,
    file: String = #fileID, line: Int = #line
  ) -> Value<U32> {
    emitter.value(
      .warp(.redux(op, members: members)), [value.operand], at: emitter.settle(file, line))
  }

  /// `value` added up, or its minimum or maximum, over the members in one instruction.
  public func reduceLanes(
    _ op: Op.ReductionOp, _ value: Value<S32>, members: UInt32 = Op.allLanes,
    file: String = #fileID, line: Int = #line
  ) -> Value<S32> {
    emitter.value(
      .warp(.redux(op, members: members)), [value.operand], at: emitter.settle(file, line))
  }

  /// The members that hold the same value as this lane.
  public func matchAny(
    _ value: Value<U32>, members: UInt32 = Op.allLanes, file: String = #fileID,
    line: Int = #line
  ) -> Value<U32> {
    emitter.value(
      .warp(.matchAny(members: members)), [value.operand], at: emitter.settle(file, line))
  }

  /// The members that hold the same 64-bit value as this lane.
  public func matchAny(
    _ value: Value<U64>, members: UInt32 = Op.allLanes, file: String = #fileID,
    line: Int = #line
  ) -> Value<U32> {
    emitter.value(
      .warp(.matchAny(members: members)), [value.operand], at: emitter.settle(file, line))
  }

  /// Whether all members hold the same value.
  public func matchAll(
    _ value: Value<U32>, members: UInt32 = Op.allLanes, file: String = #fileID,
    line: Int = #line
  ) -> Value<Pred> {
    matchAll(value.operand, members, emitter.settle(file, line))
  }

  /// Whether all members hold the same 64-bit value.
  public func matchAll(
    _ value: Value<U64>, members: UInt32 = Op.allLanes, file: String = #fileID,
    line: Int = #line
  ) -> Value<Pred> {
    matchAll(value.operand, members, emitter.settle(file, line))
  }

  private func matchAll(
    _ operand: Operand, _ members: UInt32, _ location: SourceLocation
  ) -> Value<Pred> {
    let results = emitter.builder.emit(
      .warp(.matchAll(members: members)), [operand], results: [.u32, .pred], at: location)
    return Value(operand: .value(results[1]), emitter: emitter)
  }

  /// True in exactly one of the members; sm_90a.
  public func electOne(
    among members: UInt32, file: String = #fileID, line: Int = #line
  ) -> Value<Pred> {
    emitter.value(
      .warp(.elect(members: members)), name: "elected", at: emitter.settle(file, line))
  }

  /// Waits for some lanes of the warp and orders their memory accesses.
  public func syncWarp(members: UInt32, file: String = #fileID, line: Int = #line) {
    emitter.perform(.warp(.syncWarp(members: members)), at: emitter.settle(file, line))
  }

  /// The 8 × 8 matrix of 16-bit elements that the warp's registers hold, transposed.
  public func movmatrix<T: WordScalar>(
    _ value: Value<T>, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    emitter.value(.warp(.movmatrix), [value.operand], at: emitter.settle(file, line))
  }
}
