internal import CApusDriver

extension Context {
  /// Runs `body` while the calling thread may make calls that captures forbid: allocations, waits,
  /// questions to events, loading of modules. None of them may concern a stream that is captured.
  ///
  /// Without this, such a call of any thread ends a capture in global mode that another thread has
  /// begun, and in its own thread every capture but a relaxed one. A failure to restore the thread's
  /// mode is reported to the observer. The corresponding driver function is
  /// cuThreadExchangeStreamCaptureMode.
  public func relaxingCaptures<Result: ~Copyable>(
    _ operation: String, _ body: () throws(CUDAError) -> Result
  ) throws(CUDAError) -> Result {
    var mode = CaptureMode.relaxed.rawValue
    try table.check(
      table.threadExchangeCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode", operation)
    defer {
      reportRelease(
        table.threadExchangeCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode", operation)
    }
    return try body()
  }
}

extension Stream {
  /// Gives a value to the graph that is being captured from this stream: it lives until that graph
  /// and every executable made of it have gone and their work is done.
  ///
  /// - Parameter value: its `deinit` runs on a thread of the driver and must not call the driver.
  /// - Throws: `.argument` when the stream is not captured. The corresponding driver functions are
  ///   cuStreamGetCaptureInfo, cuUserObjectCreate and cuGraphRetainUserObject.
  public func keepInCapture(_ value: some AnyObject & Sendable) throws(CUDAError) {
    let operation = "Stream.keepInCapture"
    let table = context.table
    try context.withCurrent(operation) { () throws(CUDAError) in
      var status: Int32 = 0
      var graph: UInt = 0
      try table.check(
        table.streamGetCaptureInfo(handle, &status, nil, &graph, nil, nil),
        "cuStreamGetCaptureInfo", operation)
      guard status == 1, graph != 0 else {
        throw .argument(
          operation, [.init("the stream must be captured", found: "capture status \(status)")])
      }
      let owned = Unmanaged<AnyObject>.passRetained(value).toOpaque()
      var object: UInt = 0
      let created = table.userObjectCreate(
        &object, owned, { Unmanaged<AnyObject>.fromOpaque($0).release() }, 1,
        UInt32(CAPUS_USER_OBJECT_NO_DESTRUCTOR_SYNC))
      if created != 0 {
        Unmanaged<AnyObject>.fromOpaque(owned).release()
        throw table.error(created, "cuUserObjectCreate", operation)
      }
      // The graph takes over the only reference.
      let retained = table.graphRetainUserObject(
        graph, object, 1, UInt32(CAPUS_GRAPH_USER_OBJECT_MOVE))
      if retained != 0 {
        context.reportRelease(
          table.userObjectRelease(object, 1), "cuUserObjectRelease", operation)
        throw table.error(retained, "cuGraphRetainUserObject", operation)
      }
    }
  }
}
