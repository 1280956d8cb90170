/// Blocks of a launch along each axis.
public struct LaunchGrid: Sendable, Hashable {
  /// Fastest.
  public var x: Int
  /// Second, at most 65,535.
  public var y: Int
  /// Third, at most 65,535.
  public var z: Int

  /// A grid.
  public init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  /// All blocks.
  public var blockCount: Int { x * y * z }
}

/// One launch of a kernel, ready for a launcher: which kernel, how many blocks, which arguments.
///
/// Threads, cluster and shared bytes are the kernel's own. Launches are made next to the kernel whose
/// parameters they fill, so that order and meaning of the parameters stay in one file.
public struct KernelLaunch: Sendable {
  /// What runs.
  public var kernel: any ShippedKernel
  /// Blocks; a multiple of the kernel's cluster along x. A grid without blocks is not launched.
  public var grid: LaunchGrid
  /// One for each of the kernel's parameters, in order.
  public var values: [LaunchValue]
  /// Programmatic dependent launch: the kernel waits for its predecessor itself
  /// (`griddepcontrol.wait`) and may start before that one ends. sm_90a only.
  public var overlapsPredecessor: Bool

  /// A launch.
  public init(
    _ kernel: any ShippedKernel, grid: LaunchGrid, values: [LaunchValue],
    overlapsPredecessor: Bool = false
  ) {
    self.kernel = kernel
    self.grid = grid
    self.values = values
    self.overlapsPredecessor = overlapsPredecessor
  }
}
