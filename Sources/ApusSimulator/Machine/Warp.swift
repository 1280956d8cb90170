import ApusIR

/// One warp as a resumable interpreter: where it is, which lanes are active, what they hold.
///
/// `block` outlives its warps and `state` is read through a pointer: neither costs a reference
/// count or an exclusivity check in the inner loop.
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
    /// 4, 8 or 16.
    var byteCount: Int
    var data: SIMD16<UInt8>
    var instruction: Int
  }

  /// What nearly every instruction touches.
  struct State {
    var pc = 0
    var mask: UInt32 = .max
    /// Lanes whose result of the current instruction is undefined.
    var undefinedLanes: UInt32 = 0
    /// Number of the warp's accesses; each release starts the next one.
    var epoch: UInt32 = 1
    /// `Machine.progress` when the warp last found that it must wait; −1 if it does not wait.
    var waitingSince = -1
    /// Products in flight.
    var productCount = 0
    var isFinished = false
    /// Digest of the warpgroup ops so far: the same in all four warps.
    var groupDigest: UInt64 = 0
  }

  unowned(unsafe) let block: Block
  /// The block's shared memory and its rank in the cluster.
  let shadow: UnsafeMutablePointer<SharedShadow>
  let rank: UInt32
  let clusterIndex: Int
  let index: Int
  /// Number within the cluster.
  let agent: Int
  let state: UnsafeMutablePointer<State>
  var stack: [Frame] = []
  let clock: ClockView
  /// What a resumed wait compares with; nil before the warp arrived.
  var arrivedPhase: Int?
  /// Cluster phase to wait for.
  var clusterPhase: Int?
  var registersPerThread: Int
  /// Proxy fences: those lanes' accesses up to the epoch are fenced for that memory.
  var fences: [(epoch: UInt32, lanes: UInt32, space: Op.ProxySpace)] = []
  /// Copies of the open `cp.async` group and of the committed ones, per lane.
  var openCopies: [[PendingCopy]] = Array(repeating: [], count: warpSize)
  var groups: [[[PendingCopy]]] = Array(repeating: [], count: warpSize)

  /// Words of writable global memory that lanes read since they last met.
  var globalReads: [UInt64: LaneReads] = [:]
  /// What was known at the last fence, which relaxed writes publish.
  var fenced: Publication?
  /// What relaxed reads found, acquired by the next fence.
  var observed: [Publication] = []
  /// Epoch of the last bulk store performed for this warp.
  var bulkEpoch: UInt32 = 0

  /// Open and committed groups of bulk and tensor stores, per lane.
  var openBulk: [[BulkStore]] = Array(repeating: [], count: warpSize)
  var bulkGroups: [[[BulkStore]]] = Array(repeating: [], count: warpSize)

  /// Warpgroup products that were issued and not waited for, and their committed groups.
  var openProducts: [WarpgroupProduct] = []
  var productGroups: [[WarpgroupProduct]] = []

  let registers: UnsafeMutableRawPointer
  /// Lanes that wrote each value; the last entry is that of constants.
  let defined: UnsafeMutablePointer<UInt32>
  /// Products in flight that read (A) or write (D) each value.
  let readLocks: UnsafeMutablePointer<UInt8>
  let writeLocks: UnsafeMutablePointer<UInt8>
  /// Values written since the last `wgmmaFence`; kept in warpgroup kernels only.
  let unfenced: UnsafeMutablePointer<Bool>
  let valueCount: Int

  init(
    block: Block, index: Int, agent: Int, agentCount: Int, program: Program, registers count: Int
  ) {
    self.block = block
    shadow = block.shared.shadow
    clusterIndex = block.cluster.index
    rank = UInt32(truncatingIfNeeded: block.rank)
    self.index = index
    self.agent = agent
    registersPerThread = count
    state = .allocate(capacity: 1)
    state.initialize(to: State())
    clock = ClockView(count: agentCount)
    registers = .allocate(byteCount: max(8, program.registerByteCount), alignment: 64)
    registers.initializeMemory(
      as: UInt8.self, repeating: 0, count: max(8, program.registerByteCount))
    valueCount = program.valueCount
    defined = .allocate(capacity: valueCount + 1)
    defined.initialize(repeating: 0, count: valueCount)
    defined[valueCount] = .max
    readLocks = .allocate(capacity: valueCount + 1)
    readLocks.initialize(repeating: 0, count: valueCount + 1)
    writeLocks = .allocate(capacity: valueCount + 1)
    writeLocks.initialize(repeating: 0, count: valueCount + 1)
    unfenced = .allocate(capacity: valueCount + 1)
    unfenced.initialize(repeating: false, count: valueCount + 1)
    for (slot, bits) in program.constants {
      for lane in 0..<warpSize {
        if slot.type.bitWidth == 64 {
          registers.storeBytes(of: bits, toByteOffset: slot.offset + 8 * lane, as: UInt64.self)
        } else {
          registers.storeBytes(
            of: UInt32(truncatingIfNeeded: bits), toByteOffset: slot.offset + 4 * lane,
            as: UInt32.self)
        }
      }
    }
  }

  deinit {
    state.deallocate()
    clock.deallocate()
    registers.deallocate()
    defined.deallocate()
    readLocks.deallocate()
    writeLocks.deallocate()
    unfenced.deallocate()
  }
}

extension Warp {
  var pc: Int {
    @inline(__always) get { state.pointee.pc }
    @inline(__always) set { state.pointee.pc = newValue }
  }
  var mask: UInt32 {
    @inline(__always) get { state.pointee.mask }
    @inline(__always) set { state.pointee.mask = newValue }
  }
  var undefinedLanes: UInt32 {
    @inline(__always) get { state.pointee.undefinedLanes }
    @inline(__always) set { state.pointee.undefinedLanes = newValue }
  }
  var epoch: UInt32 {
    @inline(__always) get { state.pointee.epoch }
    @inline(__always) set { state.pointee.epoch = newValue }
  }
  var waitingSince: Int {
    @inline(__always) get { state.pointee.waitingSince }
    @inline(__always) set { state.pointee.waitingSince = newValue }
  }
  var isFinished: Bool {
    @inline(__always) get { state.pointee.isFinished }
    @inline(__always) set { state.pointee.isFinished = newValue }
  }

  /// The lanes of the warp have met: each knows what all did.
  func meet() {
    forgetGlobalReads()
    clock[agent] = Knowledge(before: epoch + 1)
    epoch += 1
  }

  // MARK: - Registers

  /// The pattern in a lane, zero-extended.
  @inline(__always)
  func get(_ slot: Code.Slot, _ lane: Int) -> UInt64 {
    slot.is64
      ? registers.load(fromByteOffset: slot.offset + 8 * lane, as: UInt64.self)
      : UInt64(registers.load(fromByteOffset: slot.offset + 4 * lane, as: UInt32.self))
  }

  /// Writes the low bits of a pattern.
  @inline(__always)
  func set(_ slot: Code.Slot, _ lane: Int, _ bits: UInt64) {
    if slot.is64 {
      registers.storeBytes(of: bits, toByteOffset: slot.offset + 8 * lane, as: UInt64.self)
    } else {
      let word = UInt32(truncatingIfNeeded: bits)
      registers.storeBytes(
        of: slot.is16 ? word & 0xFFFF : word, toByteOffset: slot.offset + 4 * lane, as: UInt32.self)
    }
  }

  @inline(__always)
  func get32(_ slot: Code.Slot, _ lane: Int) -> UInt32 {
    registers.load(fromByteOffset: slot.offset + 4 * lane, as: UInt32.self)
  }

  /// The 32 lanes of a register of up to 32 bits.
  @inline(__always)
  func words(_ slot: Code.Slot) -> UnsafeMutablePointer<UInt32> {
    (registers + slot.offset).assumingMemoryBound(to: UInt32.self)
  }

  /// Calls `body` with each active lane.
  @inline(__always)
  func forEachLane(_ body: (Int) -> Void) {
    var rest = mask
    if rest == .max {
      for lane in 0..<warpSize { body(lane) }
    } else {
      while rest != 0 {
        body(rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
  }

  /// Lanes in which a predicate holds, active or not.
  func lanes(where slot: Code.Slot) -> UInt32 {
    var result: UInt32 = 0
    for lane in 0..<warpSize where get32(slot, lane) != 0 { result |= 1 << UInt32(lane) }
    return result
  }

  // MARK: - Typed maps over the active lanes

  /// result = f(a) with patterns of stride 4 or 8 read as `A` and written as `R`.
  @inline(__always)
  func map<A: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Code.Instruction, _ f: (A) -> R
  ) {
    let a = registers + i.inputs[0].offset
    let r = registers + i.outputs[0].offset
    forEachLane { lane in
      let x = a.load(fromByteOffset: lane * MemoryLayout<A>.size, as: A.self)
      r.storeBytes(of: f(x), toByteOffset: lane * MemoryLayout<R>.size, as: R.self)
    }
  }

  /// result = f(a, b).
  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Code.Instruction, _ f: (A, B) -> R
  ) {
    let a = registers + i.inputs[0].offset
    let b = registers + i.inputs[1].offset
    let r = registers + i.outputs[0].offset
    forEachLane { lane in
      let x = a.load(fromByteOffset: lane * MemoryLayout<A>.size, as: A.self)
      let y = b.load(fromByteOffset: lane * MemoryLayout<B>.size, as: B.self)
      r.storeBytes(of: f(x, y), toByteOffset: lane * MemoryLayout<R>.size, as: R.self)
    }
  }

  /// result = f(a, b, c).
  @inline(__always)
  func map<A: BitwiseCopyable, B: BitwiseCopyable, C: BitwiseCopyable, R: BitwiseCopyable>(
    _ i: Code.Instruction, _ f: (A, B, C) -> R
  ) {
    let a = registers + i.inputs[0].offset
    let b = registers + i.inputs[1].offset
    let c = registers + i.inputs[2].offset
    let r = registers + i.outputs[0].offset
    forEachLane { lane in
      let x = a.load(fromByteOffset: lane * MemoryLayout<A>.size, as: A.self)
      let y = b.load(fromByteOffset: lane * MemoryLayout<B>.size, as: B.self)
      let z = c.load(fromByteOffset: lane * MemoryLayout<C>.size, as: C.self)
      r.storeBytes(of: f(x, y, z), toByteOffset: lane * MemoryLayout<R>.size, as: R.self)
    }
  }
}
