extension Op {
  /// Group 9: asynchronous copies. Shared destinations, sources and barriers are addresses plus
  /// immediate offsets. *bulk* and *tensor* copies belong to the async proxy and are issued once
  /// per active lane: elect one lane. Their sizes and addresses are multiples of 16 bytes.
  public enum Copy: Sendable, Hashable {
    /// `(destination: u32, source: u64)`, then `sourceBytes: u32` if `hasSourceSize`, then
    /// `policy: u64` if `hasPolicy`. Asynchronous: copies `byteCount` bytes from global to shared
    /// memory in each lane; bytes from `sourceBytes` on are written as zeros and not read.
    /// Complete when covered by `asyncWait` or by the mbarrier phase of `asyncArrive`; visible to
    /// this thread then, to others after a barrier. PTX § cp.async.
    case async(AsyncCopy)
    /// `()`. Closes this thread's group of all earlier `async` copies not yet in one.
    /// PTX § cp.async.commit_group.
    case asyncCommit
    /// `()`. Blocks until at most `pending` of this thread's newest groups are incomplete.
    /// PTX § cp.async.wait_group.
    case asyncWait(pending: Int)
    /// `(barrier: u32)`. Asynchronous: arrives once all earlier `async` copies of this thread are
    /// complete. `isCounted`: the arrival is one of the count given at init (`.noinc`); otherwise
    /// the pending count is first raised by one. PTX § cp.async.mbarrier.arrive.
    case asyncArrive(offset: Int, isCounted: Bool)
    /// `(destination: u32, source: u64, bytes: u32, barrier: u32)`, then `mask: u16` if
    /// `isMulticast`, then `policy: u64` if `hasPolicy`. Asynchronous: copies from global to shared
    /// memory, then subtracts `bytes` from the barrier's transaction count. With a mask: to the
    /// same offsets of each block whose bit is set, signalling the barrier at the same offset there.
    /// PTX § cp.async.bulk.shared::cluster.global.
    case bulkLoad(BulkAccess)
    /// `(destination: u64, source: u32, bytes: u32)`, then `policy: u64` if `hasPolicy`.
    /// Asynchronous: copies from shared to global memory; joins the thread's open bulk group.
    /// PTX § cp.async.bulk.global.shared::cta.
    case bulkStore(BulkAccess)
    /// `(destination: u32 sharedCluster, source: u32, bytes: u32, barrier: u32 sharedCluster)`.
    /// Asynchronous: copies to the shared memory of a block of the cluster, then subtracts `bytes`
    /// from the transaction count of a barrier of that block.
    /// PTX § cp.async.bulk.shared::cluster.shared::cta.
    case bulkCopyToCluster(BulkAccess)
    /// `(source: u64, bytes: u32)`. A hint to bring bytes into L2. PTX § cp.async.bulk.prefetch.L2.
    case bulkPrefetch(offset: Int)
    /// `()`. Closes this thread's group of bulk and tensor stores. PTX § cp.async.bulk.commit_group.
    case bulkCommit
    /// `()`. Blocks until at most `pending` of this thread's newest bulk groups are incomplete, or,
    /// with `isReadOnly`, have yet to read their shared sources: enough to reuse the buffer.
    /// PTX § cp.async.bulk.wait_group.
    case bulkWait(pending: Int, isReadOnly: Bool)
    /// `(destination: u32, map: u64, coordinate: [d] s32 or u32, barrier: u32)`, then `mask: u16` if
    /// `isMulticast`, then `policy: u64` if `hasPolicy`. Asynchronous: copies one box of the tensor
    /// from the coordinates on (innermost first, may be negative or past the end as s32) to shared
    /// memory in the map's swizzle; elements outside the tensor become zeros. Then subtracts the
    /// bytes of the whole box from the barrier's transaction count; multicast as `bulkLoad`.
    /// PTX § cp.async.bulk.tensor.
    case tensorLoad(TensorAccess)
    /// `(map: u64, coordinate: [d] s32 or u32, source: u32)`, then `policy: u64` if `hasPolicy`.
    /// Asynchronous: copies a box from shared to global memory, clipped to the tensor, or combines
    /// it element by element with `reduction`; joins the thread's open bulk group.
    /// PTX § cp.async.bulk.tensor, cp.reduce.async.bulk.tensor.
    case tensorStore(TensorAccess, reduction: ReductionOp?)
    /// `(map: u64, coordinate: [d] s32 or u32)`. A hint to bring a box into L2.
    /// PTX § cp.async.bulk.prefetch.tensor.
    case tensorPrefetch(dimensions: Int)
    /// `(map: u64)`. A hint to fetch the descriptor itself. PTX § prefetch.tensormap.
    case prefetchTensorMap
    /// `(address: u32 sharedCluster, x: [n] T, barrier: u32 sharedCluster)`. Asynchronous: writes
    /// n = 1, 2 or 4 elements of 32 (or 1, 2 of 64) bits to the shared memory of a block of the
    /// cluster, then subtracts their bytes from the transaction count of a barrier of that block.
    /// PTX § st.async.
    case storeAsync(offset: Int, barrierOffset: Int)
  }

  /// Everything about an `async` copy but its operands.
  public struct AsyncCopy: Sendable, Hashable {
    /// 4, 8 or 16; addresses are multiples of it.
    public var byteCount: Int
    /// Bytes added to the destination.
    public var destinationOffset: Int
    /// Bytes added to the source.
    public var sourceOffset: Int
    /// Whether an operand says how many bytes to read.
    public var hasSourceSize: Bool
    /// Skip L1 (`cp.async.cg`); 16 bytes only.
    public var bypassesL1: Bool
    /// L2 prefetch.
    public var l2Prefetch: L2Prefetch
    /// Whether a cache policy follows as last operand.
    public var hasPolicy: Bool

    /// A copy; by default the L1 is skipped where it can be.
    public init(
      byteCount: Int, destinationOffset: Int = 0, sourceOffset: Int = 0,
      hasSourceSize: Bool = false, bypassesL1: Bool? = nil, l2Prefetch: L2Prefetch = .none,
      hasPolicy: Bool = false
    ) {
      self.byteCount = byteCount
      self.destinationOffset = destinationOffset
      self.sourceOffset = sourceOffset
      self.hasSourceSize = hasSourceSize
      self.bypassesL1 = bypassesL1 ?? (byteCount == 16)
      self.l2Prefetch = l2Prefetch
      self.hasPolicy = hasPolicy
    }
  }

  /// Everything about a bulk copy but its operands.
  public struct BulkAccess: Sendable, Hashable {
    /// Bytes added to the destination.
    public var destinationOffset: Int
    /// Bytes added to the source.
    public var sourceOffset: Int
    /// Bytes added to the barrier; 0 for stores.
    public var barrierOffset: Int
    /// Whether a block mask follows; loads only.
    public var isMulticast: Bool
    /// Whether a cache policy follows as last operand.
    public var hasPolicy: Bool

    /// A bulk copy.
    public init(
      destinationOffset: Int = 0, sourceOffset: Int = 0, barrierOffset: Int = 0,
      isMulticast: Bool = false, hasPolicy: Bool = false
    ) {
      self.destinationOffset = destinationOffset
      self.sourceOffset = sourceOffset
      self.barrierOffset = barrierOffset
      self.isMulticast = isMulticast
      self.hasPolicy = hasPolicy
    }
  }

  /// Everything about a tensor copy but its operands.
  public struct TensorAccess: Sendable, Hashable {
    /// Coordinates: 1…5, the rank of the map.
    public var dimensions: Int
    /// Bytes added to the shared destination or source.
    public var sharedOffset: Int
    /// Bytes added to the barrier; 0 for stores.
    public var barrierOffset: Int
    /// Whether a block mask follows; loads only.
    public var isMulticast: Bool
    /// Whether a cache policy follows as last operand.
    public var hasPolicy: Bool

    /// A tensor copy.
    public init(
      dimensions: Int, sharedOffset: Int = 0, barrierOffset: Int = 0, isMulticast: Bool = false,
      hasPolicy: Bool = false
    ) {
      self.dimensions = dimensions
      self.sharedOffset = sharedOffset
      self.barrierOffset = barrierOffset
      self.isMulticast = isMulticast
      self.hasPolicy = hasPolicy
    }
  }
}
