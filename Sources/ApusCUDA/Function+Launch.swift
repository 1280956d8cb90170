internal import CApusDriver

extension Function {
  /// Enqueues the kernel: one driver call, no allocation, no synchronisation. The corresponding
  /// driver function is cuLaunchKernelEx.
  ///
  /// - Throws: `.argument` when the launch breaks a rule of the device or the stream is of another
  ///   context; `.call` with the kernel's name.
  public func launch(
    _ configuration: LaunchConfiguration, _ arguments: borrowing KernelArguments,
    on stream: Stream
  ) throws(CUDAError) {
    let operation = "Function.launch"
    try stream.require(context, operation, "the kernel", kernel: name)
    try require(configuration, operation)
    let table = context.table
    var status: DriverTable.Status = 0
    try context.withCurrent(operation) { () throws(CUDAError) in
      status = configuration.withDriverForm(stream: stream.handle) { form in
        arguments.withAddresses { table.launchKernelEx(form, handle, $0, nil) }
      }
    }
    try table.check(status, "cuLaunchKernelEx", operation, kernel: name)
  }

  /// Blocks of one multiprocessor that run at once. The corresponding driver function is
  /// cuOccupancyMaxActiveBlocksPerMultiprocessor.
  public func maxActiveBlocks(
    threadsPerBlock: Int, dynamicSharedByteCount: Int = 0
  ) throws(CUDAError) -> Int {
    var count: Int32 = 0
    try context.call(
      "cuOccupancyMaxActiveBlocksPerMultiprocessor", "Function.maxActiveBlocks", kernel: name
    ) {
      $0.occupancyMaxActiveBlocks(
        &count, handle, Int32(clamping: threadsPerBlock), dynamicSharedByteCount)
    }
    return Int(count)
  }

  /// Clusters of the device that run at once. The corresponding driver function is
  /// cuOccupancyMaxActiveClusters.
  public func maxActiveClusters(_ configuration: LaunchConfiguration) throws(CUDAError) -> Int {
    let operation = "Function.maxActiveClusters"
    try require(configuration, operation)
    var count: Int32 = 0
    try context.call("cuOccupancyMaxActiveClusters", operation, kernel: name) { table in
      configuration.withDriverForm(stream: 0) {
        table.occupancyMaxActiveClusters(&count, handle, $0)
      }
    }
    return Int(count)
  }

  private func require(_ configuration: LaunchConfiguration, _ operation: String) throws(CUDAError)
  {
    let violations = configuration.violations(on: context.device.properties)
    if violations.isEmpty { return }
    throw .argument(operation, violations, kernel: name)
  }
}

extension LaunchConfiguration {
  /// The driver's structure of a launch whose numbers were checked; valid during `body`.
  func withDriverForm<Result>(
    stream: UInt, _ body: (UnsafePointer<capus_launch_config>) -> Result
  ) -> Result {
    withUnsafeTemporaryAllocation(of: capus_launch_attribute.self, capacity: 4) { attributes in
      var count = 0
      func add(_ id: Int, _ set: (inout capus_launch_attribute) -> Void) {
        var attribute = capus_launch_attribute()
        attribute.id = UInt32(id)
        set(&attribute)
        attributes.initializeElement(at: count, to: attribute)
        count += 1
      }
      if let cluster {
        add(CAPUS_LAUNCH_CLUSTER_DIMENSION) {
          $0.value.cluster.x = UInt32(cluster.x)
          $0.value.cluster.y = UInt32(cluster.y)
          $0.value.cluster.z = UInt32(cluster.z)
        }
      }
      if overlapsPredecessor {
        add(CAPUS_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION) { $0.value.flag = 1 }
      }
      if isCooperative { add(CAPUS_LAUNCH_COOPERATIVE) { $0.value.flag = 1 } }
      if let priority {
        add(CAPUS_LAUNCH_PRIORITY) { $0.value.priority = Int32(clamping: priority) }
      }
      var form = capus_launch_config()
      form.grid_x = UInt32(grid.x)
      form.grid_y = UInt32(grid.y)
      form.grid_z = UInt32(grid.z)
      form.block_x = UInt32(block.x)
      form.block_y = UInt32(block.y)
      form.block_z = UInt32(block.z)
      form.dynamic_shared_bytes = UInt32(dynamicSharedByteCount)
      form.stream = stream
      form.attributes = count == 0 ? nil : attributes.baseAddress
      form.attribute_count = UInt32(count)
      return withUnsafePointer(to: form, body)
    }
  }
}
