/// A size along x, y and z.
public struct Dim3: Sendable, Hashable, CustomStringConvertible, ExpressibleByIntegerLiteral {
  /// Along x.
  public var x: Int
  /// Along y.
  public var y: Int
  /// Along z.
  public var z: Int

  /// `x` by `y` by `z`.
  public init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// Along x alone.
  public init(integerLiteral value: Int) { self.init(value) }

  /// x · y · z; nil if that is no Int.
  public var count: Int? {
    let (plane, first) = x.multipliedReportingOverflow(by: y)
    let (all, second) = plane.multipliedReportingOverflow(by: z)
    return first || second ? nil : all
  }

  var all: [Int] { [x, y, z] }

  /// `(128, 1, 1)`.
  public var description: String { "(\(x), \(y), \(z))" }
}

/// How a kernel is launched.
public struct LaunchConfiguration: Sendable, Hashable, CustomStringConvertible {
  /// Blocks.
  public var grid: Dim3
  /// Threads of a block.
  public var block: Dim3
  /// Dynamic shared bytes of a block.
  public var dynamicSharedByteCount: Int
  /// Blocks of a cluster; nil launches without clusters, or with those the kernel itself demands.
  public var cluster: Dim3?
  /// The kernel may start before its predecessor in the stream ends, and waits for it itself
  /// (programmatic dependent launch).
  public var overlapsPredecessor: Bool
  /// All blocks must be resident at once.
  public var isCooperative: Bool
  /// Priority of the launch; nil is the stream's.
  public var priority: Int?

  /// A launch.
  public init(
    grid: Dim3, block: Dim3, dynamicSharedByteCount: Int = 0, cluster: Dim3? = nil,
    overlapsPredecessor: Bool = false, isCooperative: Bool = false, priority: Int? = nil
  ) {
    self.grid = grid
    self.block = block
    self.dynamicSharedByteCount = dynamicSharedByteCount
    self.cluster = cluster
    self.overlapsPredecessor = overlapsPredecessor
    self.isCooperative = isCooperative
    self.priority = priority
  }

  /// Greatest cluster that every device with clusters can launch; more needs
  /// `Function.allowNonPortableClusters`, at most 16 blocks.
  public static let portableClusterSize = 8

  /// Every rule of the device that the launch breaks; empty for a launch the driver may see.
  public func violations(on device: DeviceProperties) -> [CUDAError.Violation] {
    var found: [CUDAError.Violation] = []
    func require(
      _ condition: Bool, _ requirement: @autoclosure () -> String,
      _ value: @autoclosure () -> String
    ) {
      if !condition { found.append(.init(requirement(), found: value())) }
    }
    let limit = device.maxGrid
    require(
      (1...max(1, limit.x)).contains(grid.x) && (1...max(1, limit.y)).contains(grid.y)
        && (1...max(1, limit.z)).contains(grid.z),
      "grid must be from (1, 1, 1) to \(limit)", "\(grid)")
    require(
      block.x >= 1 && block.y >= 1 && block.z >= 1
        && (block.count ?? .max) <= device.maxThreadsPerBlock,
      "block must have from 1 to \(device.maxThreadsPerBlock) threads", "\(block)")
    require(
      (0...max(0, device.sharedBytesPerBlockOptIn)).contains(dynamicSharedByteCount),
      "dynamicSharedByteCount must be from 0 to \(device.sharedBytesPerBlockOptIn)",
      "\(dynamicSharedByteCount)")
    if let cluster {
      let count = cluster.count ?? .max
      require(
        device.supportsClusters || count == 1,
        "clusters need a device of compute capability 9.0 or newer",
        "\(device.name), \(device.capability)")
      let isPositive = cluster.x >= 1 && cluster.y >= 1 && cluster.z >= 1
      require(
        isPositive && count <= 2 * Self.portableClusterSize,
        "cluster must have from 1 to \(2 * Self.portableClusterSize) blocks", "\(cluster)")
      require(
        isPositive && grid.x % cluster.x == 0 && grid.y % cluster.y == 0
          && grid.z % cluster.z == 0,
        "grid must be a multiple of cluster \(cluster) along each axis", "\(grid)")
    }
    require(
      device.supportsCooperativeLaunch || !isCooperative,
      "a cooperative launch needs a device that has it", device.name)
    require(
      !(overlapsPredecessor && device.capability < ComputeCapability(9, 0)),
      "overlapsPredecessor needs a device of compute capability 9.0 or newer",
      "\(device.name), \(device.capability)")
    return found
  }

  /// One line with what differs from the defaults.
  public var description: String {
    var text = "grid \(grid), block \(block)"
    if dynamicSharedByteCount > 0 { text += ", \(dynamicSharedByteCount) shared bytes" }
    if let cluster { text += ", cluster \(cluster)" }
    if overlapsPredecessor { text += ", overlaps predecessor" }
    if isCooperative { text += ", cooperative" }
    if let priority { text += ", priority \(priority)" }
    return text
  }
}
