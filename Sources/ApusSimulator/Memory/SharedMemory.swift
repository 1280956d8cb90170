/// The shared window of one block with the shadow state of each byte.
///
/// Race detection follows FastTrack (Flanagan and Freund, PLDI 2009) with full read vectors: byte b
/// keeps the agent and epoch of its last write and, per agent, the epoch of its last read. Agents
/// are the warps of the cluster and one more for asynchronous copies.
final class SharedMemory {
  /// First valid offset: the hardware keeps the first KiB for itself, and so an address that forgot
  /// its base is out of bounds.
  static let base = 1024

  struct Flags: OptionSet {
    let rawValue: UInt8
    static let written = Flags(rawValue: 1)
    static let byAtomic = Flags(rawValue: 2)
    static let arriving = Flags(rawValue: 4)
    static let byAsync = Flags(rawValue: 8)
  }

  static let nobody: UInt16 = .max

  let byteCount: Int
  let agentCount: Int
  let bytes: UnsafeMutableBufferPointer<UInt8>
  var flags: [Flags]
  /// Stores in flight that read the byte.
  var sourceLocks: [UInt32]
  var writer: [UInt16]
  var writerEpoch: [UInt32]
  var writerInstruction: [Int32]
  /// Number of the write, compared with the writer's last proxy fence.
  var writerSequence: [UInt32]
  var readEpochs: [UInt32]
  var readerInstruction: [Int32]
  var barriers: [Int: MBarrier] = [:]

  init(byteCount: Int, agentCount: Int) {
    self.byteCount = byteCount
    self.agentCount = agentCount
    bytes = .allocate(capacity: byteCount)
    bytes.initialize(repeating: 0xCD)
    flags = Array(repeating: [], count: byteCount)
    sourceLocks = Array(repeating: 0, count: byteCount)
    writer = Array(repeating: Self.nobody, count: byteCount)
    writerEpoch = Array(repeating: 0, count: byteCount)
    writerInstruction = Array(repeating: 0, count: byteCount)
    writerSequence = Array(repeating: 0, count: byteCount)
    readEpochs = Array(repeating: 0, count: byteCount * agentCount)
    readerInstruction = Array(repeating: 0, count: byteCount)
  }

  deinit { bytes.deallocate() }

  /// Index of the first byte of an in-bounds range of window offsets.
  func index(_ offset: Int, byteCount count: Int) -> Int? {
    let start = offset - Self.base
    return start >= 0 && count >= 0 && start <= byteCount - count ? start : nil
  }

  func load(_ start: Int, byteCount: Int) -> UInt64 {
    var bits: UInt64 = 0
    for index in 0..<byteCount { bits |= UInt64(bytes[start + index]) << UInt64(8 * index) }
    return bits
  }

  func store(_ start: Int, _ bits: UInt64, byteCount: Int) {
    for index in 0..<byteCount {
      bytes[start + index] = UInt8(truncatingIfNeeded: bits >> UInt64(8 * index))
    }
  }
}

/// State of an mbarrier, see `Op.Synchronisation`.
struct MBarrier {
  var phase = 0
  var expected: Int
  var pending: Int
  var transactions = 0
  /// Whether `fence(.mbarrierInit)` followed the init.
  var isFenced = false
  let initAgent: Int
  let initEpoch: UInt32
  /// Clocks released into the current phase.
  var arriving: VectorClock
  /// Clocks that a completed phase hands to its waiters.
  var completed: VectorClock

  init(count: Int, agent: Int, clock: VectorClock) {
    expected = count
    pending = count
    initAgent = agent
    initEpoch = clock[agent]
    arriving = VectorClock(count: clock.count)
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

/// Epoch of each agent that is known to have happened before.
struct VectorClock {
  private var epochs: [UInt32]

  init(count: Int) { epochs = Array(repeating: 0, count: count) }

  var count: Int { epochs.count }

  subscript(agent: Int) -> UInt32 {
    get { epochs[agent] }
    set { epochs[agent] = newValue }
  }

  mutating func merge(_ other: VectorClock) {
    for agent in epochs.indices { epochs[agent] = max(epochs[agent], other.epochs[agent]) }
  }
}
