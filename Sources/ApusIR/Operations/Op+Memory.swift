extension Op {
  /// Group 6: parameters, addresses, loads, stores, atomics.
  public enum Memory: Sendable, Hashable {
    /// `() → T`. Bytes from `offset` on of a launch argument: a scalar (offset 0), a pointer (u64)
    /// or a field of `bytes`. Constant over the launch and the same in every thread. T has the
    /// field's size; not `pred`. PTX § ld.param.
    case parameter(ParameterID, offset: Int)
    /// `() → u64`. The generic address of a tensor-map or bytes argument, for tensor copies and
    /// `prefetchTensorMap`. PTX § mov, cvta.param.
    case parameterAddress(ParameterID)
    /// `() → u32`. The shared address of an allocation plus `offset` bytes. In a cluster the top
    /// byte of a shared address may hold the block's rank: mask with 0x3FFFF before building
    /// matrix descriptors. PTX § mov.
    case sharedAddress(SharedID, offset: Int)
    /// `(address: A) → [n] T`, then `policy: u64` if `access.hasPolicy`. Reads n = 1, 2 or 4
    /// consecutive elements. A is u64 (global) or u32. Elements of 8 and 16 bits may be loaded into
    /// wider integers, extended as the element says. PTX § ld, ld.global.nc.
    case ld(MemoryAccess)
    /// `(address: A, x: [n] T)`, then `policy: u64` if `access.hasPolicy`. Writes n = 1, 2 or 4
    /// consecutive elements; a wider register stores its low bits. PTX § st.
    case st(MemoryAccess)
    /// `(address: A, x: T) → T`; `cas`: `(address: A, expected: T, x: T) → T`. Reads, combines and
    /// writes one element as one step; the result is what was there before. PTX § atom.
    case atom(AtomicAccess)
    /// `(address: A, x: [n] T)`. `atom` without a result; n = 2 or 4 (f32, global, `add`) updates n
    /// elements, each atomic by itself. PTX § red.
    case red(AtomicAccess)
    /// `(address: u64)`. A hint to fetch the global cache line at address + offset. PTX § prefetch.
    case prefetch(PrefetchLevel, offset: Int)
    /// `(address: u32, rank: u32) → u32`. The cluster-wide address of the same shared byte in the
    /// block `rank` of the cluster. PTX § mapa.
    case mapa
  }

  /// Where an address points.
  public enum MemorySpace: UInt8, Sendable, Hashable, CaseIterable {
    /// Device memory; u64.
    case global
    /// The block's own shared window; u32.
    case shared
    /// The shared window of any block of the cluster, from `mapa` or this block's own; u32.
    case sharedCluster

    /// Type of an address.
    public var addressType: ValueType { self == .global ? .u64 : .u32 }
  }

  /// Element of a load or store.
  public enum MemoryElement: UInt8, Sendable, Hashable, CaseIterable {
    /// 8 bits; loads extend zeros into u16 or u32.
    case b8
    /// 8 bits; loads extend the sign into s32.
    case s8
    /// 16 bits; loads fill a 16-bit type or extend zeros into u32.
    case b16
    /// 16 bits; loads extend the sign into s32.
    case s16
    /// 32 bits.
    case b32
    /// 64 bits.
    case b64

    /// Size in bytes.
    public var byteCount: Int {
      switch self {
      case .b8, .s8: 1
      case .b16, .s16: 2
      case .b32: 4
      case .b64: 8
      }
    }
  }

  /// Who observes an ordered access, fence or barrier.
  public enum Scope: UInt8, Sendable, Hashable, CaseIterable {
    /// Threads of the block (`cta`).
    case block
    /// Threads of the cluster.
    case cluster
    /// Threads of the GPU.
    case gpu
    /// The whole system.
    case system
  }

  /// Memory order of a load or store.
  public enum Ordering: Sendable, Hashable {
    /// Orders nothing between threads.
    case weak
    /// Atomic, orders nothing else.
    case relaxed(Scope)
    /// Later accesses of this thread come after (loads).
    case acquire(Scope)
    /// Earlier accesses of this thread come before (stores).
    case release(Scope)
    /// Neither merged nor dropped.
    case volatile
  }

  /// L1 treatment of a line (`.level::eviction_priority`).
  public enum L1Priority: UInt8, Sendable, Hashable, CaseIterable {
    /// The default.
    case normal
    /// Do not change the line's priority.
    case unchanged
    /// Leaves first: streamed data.
    case evictFirst
    /// Leaves last: data to be read again.
    case evictLast
    /// Not kept.
    case noAllocate
  }

  /// Bytes that a miss also brings into L2 (`.level::prefetch_size`).
  public enum L2Prefetch: UInt8, Sendable, Hashable, CaseIterable {
    /// No more than the access needs.
    case none
    /// 64 bytes.
    case bytes64
    /// 128 bytes.
    case bytes128
    /// 256 bytes.
    case bytes256
  }

  /// Cache that `prefetch` fills.
  public enum PrefetchLevel: UInt8, Sendable, Hashable, CaseIterable {
    /// L1 and L2.
    case l1
    /// L2 only.
    case l2
  }

  /// Everything about a load or store but its operands.
  public struct MemoryAccess: Sendable, Hashable {
    /// Address space.
    public var space: MemorySpace
    /// Element.
    public var element: MemoryElement
    /// Bytes added to the address operand.
    public var offset: Int
    /// Memory order.
    public var ordering: Ordering
    /// Load of global data that nothing writes during the launch, through the read-only path.
    /// Not for data written by the kernel this one waits for with `gridDependencyWait`.
    public var isNonCoherent: Bool
    /// L1 treatment; global only.
    public var l1: L1Priority
    /// L2 prefetch; global loads only.
    public var l2Prefetch: L2Prefetch
    /// Whether a cache policy (see `CachePolicy`) follows as last operand; global only.
    public var hasPolicy: Bool

    /// An access; the defaults are a plain weak one.
    public init(
      _ space: MemorySpace, _ element: MemoryElement, offset: Int = 0, ordering: Ordering = .weak,
      isNonCoherent: Bool = false, l1: L1Priority = .normal, l2Prefetch: L2Prefetch = .none,
      hasPolicy: Bool = false
    ) {
      self.space = space
      self.element = element
      self.offset = offset
      self.ordering = ordering
      self.isNonCoherent = isNonCoherent
      self.l1 = l1
      self.l2Prefetch = l2Prefetch
      self.hasPolicy = hasPolicy
    }
  }

  /// What an atomic writes, from the old content m and the operand x.
  public enum AtomicOp: UInt8, Sendable, Hashable, CaseIterable {
    /// m + x; u32, s32, u64, f32 (nearest even; global memory flushes subnormal inputs and results
    /// to zero, shared memory keeps them), f16x2 and bf16x2 (subnormals kept; the elements are
    /// atomic each by itself).
    case add
    /// min(m, x); u32, s32, u64, s64.
    case min
    /// max(m, x); u32, s32, u64, s64.
    case max
    /// m AND x; u32, u64.
    case and
    /// m OR x; u32, u64.
    case or
    /// m XOR x; u32, u64.
    case xor
    /// m ≥ x ? 0 : m + 1; u32. A counter that wraps.
    case inc
    /// x; u32, u64. `atom` only.
    case exchange
    /// m = expected ? x : m; u32, u64. `atom` only.
    case cas
  }

  /// Everything about an atomic but its operands.
  public struct AtomicAccess: Sendable, Hashable {
    /// Combination.
    public var op: AtomicOp
    /// Address space.
    public var space: MemorySpace
    /// Bytes added to the address operand.
    public var offset: Int
    /// Order of the threads' other accesses around this one.
    public var ordering: AtomicOrdering
    /// Threads to which the step is indivisible.
    public var scope: Scope

    /// An atomic; the defaults are a relaxed one of GPU scope.
    public init(
      _ op: AtomicOp, _ space: MemorySpace, offset: Int = 0, ordering: AtomicOrdering = .relaxed,
      scope: Scope = .gpu
    ) {
      self.op = op
      self.space = space
      self.offset = offset
      self.ordering = ordering
      self.scope = scope
    }
  }

  /// Memory order of an atomic, arrive or wait.
  public enum AtomicOrdering: UInt8, Sendable, Hashable, CaseIterable {
    /// Orders nothing else.
    case relaxed
    /// Later accesses come after.
    case acquire
    /// Earlier accesses come before.
    case release
    /// Both.
    case acquireRelease
  }
}

/// 64-bit L2 cache policies, the encodings that `createpolicy.fractional` gives for whole ranges.
public enum CachePolicy {
  /// Default priority.
  public static let evictNormal = Constant.u64(0x1000_0000_0000_0000)
  /// Streamed once: leaves first.
  public static let evictFirst = Constant.u64(0x12F0_0000_0000_0000)
  /// Read again: leaves last.
  public static let evictLast = Constant.u64(0x14F0_0000_0000_0000)
}
