extension Op {
  /// Group 8: barriers, fences, clusters, dependent launches.
  ///
  /// An mbarrier is 8 bytes of shared memory, 8-byte aligned: a phase number, a pending count, the
  /// count each phase starts with, and a transaction count (bytes announced minus bytes arrived).
  /// A phase completes when the pending count and the transaction count are both 0; the next one
  /// then starts with the full count. Phase 0 is the first. Pending counts must never go below 0.
  public enum Synchronisation: Sendable, Hashable {
    /// `()` or `(index: u32 uniform)`. The warp arrives at the named barrier (`firstID + index`)
    /// with all its lanes and waits until `threads` threads have arrived or synced. Orders the
    /// memory accesses of all those threads. Collective over the warp. PTX § bar.sync.
    case barrierSync(NamedBarrierID)
    /// `()` or `(index: u32 uniform)`. As `barrierSync` without waiting: earlier accesses of the
    /// warp come before later ones of those that sync. PTX § bar.arrive.
    case barrierArrive(NamedBarrierID)
    /// `(barrier: u32, count: u32)`. Starts phase 0 of an mbarrier with `count` (1…2^20 − 1)
    /// arrivals. Made visible to the async proxy and to the cluster by `fence(.mbarrierInit)`,
    /// to the block's threads by a following barrier. PTX § mbarrier.init.
    case mbarrierInit(offset: Int)
    /// `(barrier: u32)`. Ends the barrier's use; its bytes may be reused. PTX § mbarrier.inval.
    case mbarrierInvalidate(offset: Int)
    /// `(barrier: u32)`. Subtracts `arrive.count` from the pending count. Ordered as
    /// `arrive.ordering` says. A barrier of another block comes from `mapa`, space
    /// `sharedCluster`. PTX § mbarrier.arrive.
    case mbarrierArrive(MBarrierArrive)
    /// `(barrier: u32, bytes: u32)`. Adds `bytes` to the transaction count of the current phase,
    /// then arrives with count 1. PTX § mbarrier.arrive.expect_tx.
    case mbarrierArriveExpect(MBarrierArrive)
    /// `(barrier: u32, bytes: u32)`. Adds `bytes` to the transaction count; no arrival.
    /// PTX § mbarrier.expect_tx.
    case mbarrierExpect(MBarrierArrive)
    /// `(barrier: u32, parity: u32)`. Blocks until the current phase's parity differs from
    /// `parity`: until the phase of that parity has completed. A fresh barrier passes parity 1 at
    /// once. Later accesses come after the accesses released by that phase's arrivals and the
    /// bytes of its copies. PTX § mbarrier.try_wait.parity (test_wait before sm_90), in a loop.
    case mbarrierWait(MBarrierWait)
    /// `(barrier: u32, parity: u32) → pred`. Whether `mbarrierWait` would pass now; ordered like it
    /// when true. PTX § mbarrier.test_wait.parity.
    case mbarrierTest(MBarrierWait)
    /// `()`. Orders accesses, see `FenceKind`.
    case fence(FenceKind)
    /// `()`. Arrives at the barrier of the whole cluster. `.release` orders earlier accesses before
    /// the others' wait; `.relaxed` does not. Every thread of the cluster arrives once a phase;
    /// exited threads count as arrived. PTX § barrier.cluster.arrive (`.aligned`: collective).
    case clusterArrive(AtomicOrdering)
    /// `()`. Waits until all threads of the cluster have arrived; acquires their released accesses.
    /// PTX § barrier.cluster.wait (`.aligned`: collective).
    case clusterWait
    /// `()`. Blocks until all kernels this launch depends on have finished and their memory is
    /// visible. Passes at once in a launch without the attribute. PTX § griddepcontrol.wait.
    case gridDependencyWait
    /// `()`. Allows dependent launches to start once every block has executed this or exited. Says
    /// nothing about memory. PTX § griddepcontrol.launch_dependents.
    case gridDependencyLaunch
  }

  /// Everything about an arrival but its operands.
  public struct MBarrierArrive: Sendable, Hashable {
    /// `shared` or `sharedCluster`.
    public var space: MemorySpace
    /// Bytes added to the barrier operand.
    public var offset: Int
    /// Arrivals at once; 1 where bytes are announced.
    public var count: Int
    /// `release` or `relaxed`.
    public var ordering: AtomicOrdering
    /// Scope of the order. `block` on a remote barrier is what multicast rings use: the consumer
    /// only read, and `cluster` costs a memory barrier per arrival.
    public var scope: Scope

    /// An arrival; the defaults are one local release.
    public init(
      space: MemorySpace = .shared, offset: Int = 0, count: Int = 1,
      ordering: AtomicOrdering = .release, scope: Scope = .block
    ) {
      self.space = space
      self.offset = offset
      self.count = count
      self.ordering = ordering
      self.scope = scope
    }
  }

  /// Everything about a wait but its operands; the barrier is the block's own.
  public struct MBarrierWait: Sendable, Hashable {
    /// Bytes added to the barrier operand.
    public var offset: Int
    /// Scope of the acquire: `cluster` to read what another block's threads stored and released.
    public var scope: Scope

    /// A wait; the defaults acquire at block scope.
    public init(offset: Int = 0, scope: Scope = .block) {
      self.offset = offset
      self.scope = scope
    }
  }

  /// What a fence orders.
  public enum FenceKind: Sendable, Hashable {
    /// This thread's accesses before the fence and those after it, as seen at the scope: release
    /// and acquire in one. PTX § fence.acq_rel.
    case acquireRelease(Scope)
    /// As `acquireRelease`, and all such fences have one total order. PTX § fence.sc.
    case sequential(Scope)
    /// Ordinary accesses of this thread to shared or global memory and those of the async proxy
    /// (tensor and bulk copies, `wgmma` operands): each thread that wrote fences, then a barrier,
    /// then the async op is issued. PTX § fence.proxy.async.
    case proxyAsync(ProxySpace)
    /// Earlier `mbarrierInit`s of this thread before later async and remote use of the barriers.
    /// PTX § fence.mbarrier_init.release.cluster.
    case mbarrierInit
  }

  /// Memory a proxy fence covers.
  public enum ProxySpace: UInt8, Sendable, Hashable, CaseIterable {
    /// The block's own shared memory.
    case shared
    /// Global memory.
    case global
    /// Both.
    case all
  }
}
