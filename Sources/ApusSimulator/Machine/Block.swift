import ApusIR

/// An access of a block to the shared memory of another one of its cluster.
struct RemoteUse {
  let agent: Int
  let lane: UInt32
  let epoch: UInt32
  let instruction: Int
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

  unowned(unsafe) let cluster: Cluster
  /// Linear index in the grid.
  let index: Int
  let rank: Int
  let shared: SharedMemory
  var named: [Named]
  var warps: [Warp] = []
  /// Lanes that waited for the preceding launch, with the epoch.
  var dependencyWaits: [(agent: Int, lanes: UInt32, epoch: UInt32)] = []
  /// Last accesses of each lane of other blocks to this one's shared memory.
  var remoteUses: [Int: RemoteUse] = [:]
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
  /// Epoch of the last completed asynchronous copy.
  var asyncEpoch: UInt32 = 0

  init(index: Int, agentCount: Int) {
    self.index = index
    clock = VectorClock(count: agentCount)
    completed = clock
  }
}
