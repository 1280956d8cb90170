extension Op {
  /// Group 5: `() → u32` (u64 where said). The content of a special register in each lane.
  ///
  /// All are constant over a thread's life, so equal reads are interchangeable, except those with
  /// `isVolatile`, each of which is a fresh read. PTX § Special Registers.
  public enum SpecialRegister: Sendable, Hashable {
    /// Thread index within the block along an axis; blocks are one-dimensional, so y and z are 0.
    case threadIndex(Axis)
    /// Threads of the block along an axis.
    case blockSize(Axis)
    /// Block index within the grid.
    case blockIndex(Axis)
    /// Blocks of the grid.
    case gridSize(Axis)
    /// Lane 0…31 within the warp.
    case laneIndex
    /// Bits of the lanes below this one.
    case lanesBelow
    /// Cluster index within the grid.
    case clusterIndex(Axis)
    /// Clusters of the grid.
    case clusterCount(Axis)
    /// This block's rank in its cluster, 0 without clusters.
    case clusterRank
    /// Blocks of the cluster.
    case clusterSize
    /// The multiprocessor's number. Volatile.
    case multiprocessor
    /// Cycles of the multiprocessor, low 32 bits. Volatile.
    case clock
    /// u64: cycles of the multiprocessor. Volatile.
    case clock64
    /// u64: nanoseconds of the GPU's clock, of coarse resolution. Volatile.
    case globalTimer
    /// Bytes of dynamic shared memory of the launch.
    case dynamicSharedSize

    /// Result type.
    public var type: ValueType {
      switch self {
      case .clock64, .globalTimer: .u64
      default: .u32
      }
    }

    /// Whether two reads may differ.
    public var isVolatile: Bool {
      switch self {
      case .multiprocessor, .clock, .clock64, .globalTimer: true
      default: false
      }
    }
  }

  /// A dimension of blocks and grids.
  public enum Axis: UInt8, Sendable, Hashable, CaseIterable {
    /// Fastest.
    case x
    /// Second.
    case y
    /// Third.
    case z
  }
}
