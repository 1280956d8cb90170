/// State of an mbarrier, see `Op.Synchronisation`.
struct MBarrier {
  var phase = 0
  var expected: Int
  var pending: Int
  var transactions = 0
  /// Whether `fence(.mbarrierInit)` followed the init.
  var isFenced = false
  let initAgent: Int
  let initLane: UInt32
  let initEpoch: UInt32
  /// Clocks released into the current phase.
  var arriving: VectorClock
  /// Clocks that a completed phase hands to its waiters.
  var completed: VectorClock

  init(count: Int, agent: Int, lane: UInt32, epoch: UInt32, agentCount: Int) {
    expected = count
    pending = count
    initAgent = agent
    initLane = lane
    initEpoch = epoch
    arriving = VectorClock(count: agentCount)
    completed = arriving
  }

  /// Whether a wait on `parity` passes.
  func passes(parity: Int) -> Bool { phase & 1 != parity }

  /// Starts the next phase if nothing is pending.
  mutating func completeIfDone() -> Bool {
    guard pending == 0, transactions == 0 else { return false }
    phase += 1
    pending = expected
    completed.merge(arriving)
    return true
  }
}
