import ApusIR

/// One warp as a resumable interpreter: where it is, which lanes are active, what they hold.
final class Warp {
  /// A construct the warp is inside of.
  struct Frame {
    enum Kind { case then, `else`, loop }
    var kind: Kind
    /// `if`: lanes that have still to run the else region.
    var pending: UInt32 = 0
    /// `if`: lanes that are through; loop: lanes that left it.
    var done: UInt32 = 0
    /// Loop: lanes that wait for the next round.
    var continued: UInt32 = 0
    /// Where to go when no lane is active.
    var skip: Int
    /// Loop: first instruction of the body.
    var start: Int
  }

  /// A copy that was issued and not performed.
  struct PendingCopy {
    var destination: Int
    var byteCount: Int
    var data: [UInt8]
    var instruction: Int
  }

  unowned let block: Block
  let index: Int
  /// Number within the cluster.
  let agent: Int
  var pc = 0
  var mask: UInt32 = .max
  var stack: [Frame] = []
  var clock: VectorClock
  var isFinished = false
  /// `Machine.progress` when the warp last found that it must wait; nil if it does not wait.
  var waitingSince: Int?
  /// What a resumed wait compares with; nil before the warp arrived.
  var arrivedPhase: Int?
  /// Cluster phase to wait for.
  var clusterPhase: Int?
  var registersPerThread: Int
  /// `Machine.writeSequence` at the last proxy fence.
  var proxyFence: UInt32 = 0
  /// Open and committed `cp.async` groups, per lane mask of the commit.
  var openCopies: [(lane: Int, copy: PendingCopy)] = []
  var groups: [[[PendingCopy]]] = Array(repeating: [], count: warpSize)

  /// The clock at the last fence, which relaxed writes publish.
  var fencedClock: VectorClock?
  /// Clocks that relaxed reads found, acquired by the next fence.
  var observed: [VectorClock] = []

  /// Open and committed groups of bulk and tensor stores, per lane.
  var openBulk: [[BulkStore]] = Array(repeating: [], count: warpSize)
  var bulkGroups: [[[BulkStore]]] = Array(repeating: [], count: warpSize)

  /// Warpgroup products that were issued and not waited for, and their committed groups.
  var openProducts: [WarpgroupProduct] = []
  var productGroups: [[WarpgroupProduct]] = []
  /// Products in flight that read (A) or write (D) each value; empty while there are none.
  var readLocks: [Int: Int] = [:]
  var writeLocks: [Int: Int] = [:]
  /// Values written since the last `wgmmaFence`; kept in warpgroup kernels only.
  var unfenced: Set<Int> = []

  let registers: UnsafeMutableRawPointer
  /// Lanes that wrote each value.
  var defined: [UInt32]
  /// Lanes whose result of the current instruction is undefined.
  var undefinedLanes: UInt32 = 0

  init(
    block: Block, index: Int, agent: Int, agentCount: Int, program: Program, registers count: Int
  ) {
    self.block = block
    self.index = index
    self.agent = agent
    registersPerThread = count
    clock = VectorClock(count: agentCount)
    clock[agent] = 1
    registers = .allocate(byteCount: max(8, program.registerByteCount), alignment: 16)
    registers.initializeMemory(
      as: UInt8.self, repeating: 0, count: max(8, program.registerByteCount))
    defined = Array(repeating: 0, count: program.valueCount)
    for (slot, bits) in program.constants {
      for lane in 0..<warpSize { set(slot, lane, bits) }
    }
  }

  deinit { registers.deallocate() }

  // MARK: - Registers

  /// The pattern in a lane, zero-extended.
  @inline(__always)
  func get(_ slot: Program.Slot, _ lane: Int) -> UInt64 {
    slot.type.bitWidth == 64
      ? registers.load(fromByteOffset: slot.offset + 8 * lane, as: UInt64.self)
      : UInt64(registers.load(fromByteOffset: slot.offset + 4 * lane, as: UInt32.self))
  }

  /// Writes the low bits of a pattern.
  @inline(__always)
  func set(_ slot: Program.Slot, _ lane: Int, _ bits: UInt64) {
    switch slot.type.bitWidth {
    case 64: registers.storeBytes(of: bits, toByteOffset: slot.offset + 8 * lane, as: UInt64.self)
    case 16:
      registers.storeBytes(
        of: UInt32(truncatingIfNeeded: bits) & 0xFFFF, toByteOffset: slot.offset + 4 * lane,
        as: UInt32.self)
    default:
      registers.storeBytes(
        of: UInt32(truncatingIfNeeded: bits), toByteOffset: slot.offset + 4 * lane, as: UInt32.self)
    }
  }

  @inline(__always)
  func get32(_ slot: Program.Slot, _ lane: Int) -> UInt32 {
    registers.load(fromByteOffset: slot.offset + 4 * lane, as: UInt32.self)
  }

  /// Calls `body` with each active lane.
  @inline(__always)
  func forEachLane(_ body: (Int) -> Void) {
    if mask == .max {
      for lane in 0..<warpSize { body(lane) }
    } else {
      var rest = mask
      while rest != 0 {
        body(rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
  }

  /// Lanes in which a predicate holds, active or not.
  func lanes(where slot: Program.Slot) -> UInt32 {
    var result: UInt32 = 0
    for lane in 0..<warpSize where get32(slot, lane) != 0 { result |= 1 << UInt32(lane) }
    return result
  }

  // MARK: - Typed maps over the active lanes

  /// result = f(a) with patterns of stride 4 or 8 read as `A` and written as `R`.
  @inline(__always)
  func map<A: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Program.Instruction, _ f: (A) -> R
  ) {
    let (a, r) = (i.inputs[0].offset, i.outputs[0].offset)
    forEachLane { lane in
      let x = registers.load(fromByteOffset: a + lane * MemoryLayout<A>.size, as: A.self)
      registers.storeBytes(of: f(x), toByteOffset: r + lane * MemoryLayout<R>.size, as: R.self)
    }
  }

  /// result = f(a, b).
  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Program.Instruction, _ f: (A, B) -> R
  ) {
    let (a, b, r) = (i.inputs[0].offset, i.inputs[1].offset, i.outputs[0].offset)
    forEachLane { lane in
      let x = registers.load(fromByteOffset: a + lane * MemoryLayout<A>.size, as: A.self)
      let y = registers.load(fromByteOffset: b + lane * MemoryLayout<B>.size, as: B.self)
      registers.storeBytes(of: f(x, y), toByteOffset: r + lane * MemoryLayout<R>.size, as: R.self)
    }
  }

  /// result = f(a, b, c).
  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, C: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Program.Instruction, _ f: (A, B, C) -> R
  ) {
    let (a, b, c, r) = (
      i.inputs[0].offset, i.inputs[1].offset, i.inputs[2].offset, i.outputs[0].offset
    )
    forEachLane { lane in
      let x = registers.load(fromByteOffset: a + lane * MemoryLayout<A>.size, as: A.self)
      let y = registers.load(fromByteOffset: b + lane * MemoryLayout<B>.size, as: B.self)
      let z = registers.load(fromByteOffset: c + lane * MemoryLayout<C>.size, as: C.self)
      registers.storeBytes(
        of: f(x, y, z), toByteOffset: r + lane * MemoryLayout<R>.size, as: R.self)
    }
  }
}

/// One block: its shared memory, barriers and warps.
final class Block {
  /// A named hardware barrier.
  struct Named {
    var phase = 0
    var arrivedThreads = 0
    var expected = 0
    var clock: VectorClock
    var completed: VectorClock
  }

  unowned let cluster: Cluster
  /// Linear index in the grid.
  let index: Int
  let rank: Int
  let shared: SharedMemory
  var named: [Named]
  var warps: [Warp] = []
  /// Registers that no warp holds, in units of one register of one thread.
  var freeRegisters = 0

  init(cluster: Cluster, index: Int, rank: Int, kernel: KernelIR, agentCount: Int) {
    self.cluster = cluster
    self.index = index
    self.rank = rank
    shared = SharedMemory(byteCount: kernel.sharedByteCount, agentCount: agentCount)
    let clock = VectorClock(count: agentCount)
    named = Array(repeating: Named(clock: clock, completed: clock), count: 16)
  }
}

/// Blocks that share barriers and shared memory.
final class Cluster {
  let index: Int
  var blocks: [Block] = []
  var phase = 0
  /// Agents that arrived in the current phase.
  var arrived: Set<Int> = []
  var clock: VectorClock
  var completed: VectorClock
  /// Clocks that atomics and ordered stores released, by global address or `Machine.key`.
  var released: [UInt64: VectorClock] = [:]
  /// Epoch of the last completed asynchronous copy.
  var asyncEpoch: UInt32 = 0

  init(index: Int, agentCount: Int) {
    self.index = index
    clock = VectorClock(count: agentCount)
    completed = clock
  }
}
