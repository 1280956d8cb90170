import ApusIR

/// Stages that producers fill and consumers empty, with a full and an empty mbarrier each.
///
/// A producer takes an empty stage, fills it and completes its full barrier; a consumer takes a
/// full stage, uses it and arrives at its empty barrier. Each side walks with a `RingCursor`.
public struct StageRing {
  /// Barriers that complete when a stage holds data.
  public let full: MBarriers
  /// Barriers that complete when a stage may be overwritten.
  public let empty: MBarriers
  /// Stages.
  public var stages: Int { full.count }
}

/// A place in a ring: the stage, and the parity of the phase it is in.
public struct RingCursor {
  /// 0…stages − 1.
  public let stage: Variable<U32>
  /// Flips each time the ring is through.
  public let parity: Variable<U32>
}

/// One stage in use.
public struct RingStage {
  /// Which one; indexes `SharedTiles`.
  public let index: Value<U32>
  /// Its full barrier: what copies signal.
  public let full: MBarrier
  /// Its empty barrier.
  public let empty: MBarrier
}

extension Block {
  /// A ring; its barriers still need `initialise([ring.full, ring.empty])`.
  ///
  /// - Parameters:
  ///   - fullArrivals: arrivals that fill a stage: 1 for a thread that announces its copies.
  ///   - emptyArrivals: arrivals that free one, over all consumers.
  public func ring(
    _ name: String, stages: Int, fullArrivals: Int = 1, emptyArrivals: Int,
    file: String = #fileID, line: Int = #line
  ) -> StageRing {
    require(
      stages > 0, "ring: stages must be positive; found \(stages).", file: file, line: line)
    let full = mbarriers("\(name)Full", count: stages, arrivals: fullArrivals)
    let empty = mbarriers("\(name)Empty", count: stages, arrivals: emptyArrivals)
    emitter.builder.addRing(name: name, full: full.id, empty: empty.id)
    return StageRing(full: full, empty: empty)
  }

  /// A cursor at stage 0; each role has its own.
  public func cursor(file: String = #fileID, line: Int = #line) -> RingCursor {
    RingCursor(
      stage: variable(0, as: U32.self, "stage", file: file, line: line),
      parity: variable(0, as: U32.self, "parity", file: file, line: line))
  }

  /// Waits until the cursor's stage may be filled; in the first round it may at once.
  public func acquireEmpty(
    _ ring: StageRing, _ cursor: RingCursor, file: String = #fileID, line: Int = #line
  ) -> RingStage {
    let stage = stage(of: ring, cursor)
    // A fresh barrier passes parity 1: the phase before the first counts as complete.
    wait(stage.empty, parity: cursor.parity.value ^ 1, file: file, line: line)
    return stage
  }

  /// Waits until the cursor's stage holds data.
  public func acquireFull(
    _ ring: StageRing, _ cursor: RingCursor, file: String = #fileID, line: Int = #line
  ) -> RingStage {
    let stage = stage(of: ring, cursor)
    wait(stage.full, parity: cursor.parity.value, file: file, line: line)
    return stage
  }

  private func stage(of ring: StageRing, _ cursor: RingCursor) -> RingStage {
    let index = cursor.stage.value
    return RingStage(index: index, full: ring.full[index], empty: ring.empty[index])
  }

  /// Moves the cursor to the next stage.
  public func advance(
    _ cursor: RingCursor, in ring: StageRing, file: String = #fileID, line: Int = #line
  ) {
    let next = cursor.stage.value + 1
    let isThrough = next == constant(ring.stages, as: U32.self)
    let parity = cursor.parity.value
    assign(
      cursor.parity, select(isThrough, parity ^ 1, parity), file: file, line: line)
    assign(
      cursor.stage, select(isThrough, constant(0, as: U32.self), next), file: file, line: line)
  }
}
