public import ApusIR

extension Block {
  /// This block's rank in its cluster.
  public var clusterRank: Value<U32> { special(.clusterRank) }

  /// Blocks of the cluster.
  public var clusterSize: Value<U32> { special(.clusterSize) }

  /// Cluster index within the grid.
  public func clusterIndex(_ axis: Op.Axis = .x) -> Value<U32> { special(.clusterIndex(axis)) }

  /// Clusters of the grid.
  public func clusterCount(_ axis: Op.Axis = .x) -> Value<U32> { special(.clusterCount(axis)) }

  /// Arrives at the cluster's barrier.
  public func arriveCluster(
    _ ordering: Op.AtomicOrdering = .release, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .synchronisation(.clusterArrive(ordering)), at: emitter.settle(file, line))
  }

  /// Waits until all threads of the cluster have arrived.
  public func waitCluster(file: String = #fileID, line: Int = #line) {
    emitter.perform(.synchronisation(.clusterWait), at: emitter.settle(file, line))
  }

  /// Waits for all threads of the cluster and orders their memory accesses. A kernel whose blocks
  /// reach into each other ends with it: the memory of a block that has ended is gone.
  public func syncCluster(file: String = #fileID, line: Int = #line) {
    arriveCluster(file: file, line: line)
    waitCluster(file: file, line: line)
  }

  // MARK: - Dependent launches

  /// Blocks until the kernels this launch depends on are complete and visible.
  public func waitForDependencies(file: String = #fileID, line: Int = #line) {
    emitter.perform(.synchronisation(.gridDependencyWait), at: emitter.settle(file, line))
  }

  /// Allows dependent launches to start.
  public func launchDependents(file: String = #fileID, line: Int = #line) {
    emitter.perform(.synchronisation(.gridDependencyLaunch), at: emitter.settle(file, line))
  }
}
