internal import CApusDriver

/// A point in a stream's work: can be waited for, asked about, and timed.
public struct Event: ~Copyable, Sendable {
  /// The context it belongs to.
  public let context: Context
  /// The driver's handle.
  public let handle: UInt

  /// Makes an event. The corresponding driver function is cuEventCreate.
  ///
  /// - Parameters:
  ///   - timing: keep a time stamp; without one, recording is cheaper.
  ///   - blocking: `synchronize` sleeps instead of spinning.
  public init(in context: Context, timing: Bool = true, blocking: Bool = false) throws(CUDAError) {
    var flags = 0
    if !timing { flags |= CAPUS_EVENT_DISABLE_TIMING }
    if blocking { flags |= CAPUS_EVENT_BLOCKING_SYNC }
    var handle: UInt = 0
    try context.call("cuEventCreate", "Event.init") { $0.eventCreate(&handle, UInt32(flags)) }
    self.context = context
    self.handle = handle
  }

  deinit {
    let handle = handle
    context.release("cuEventDestroy", "Event.deinit") { $0.eventDestroy(handle) }
  }

  /// Puts the event behind the work that `stream` has now. The corresponding driver function is
  /// cuEventRecord.
  ///
  /// - Throws: `.argument` when the stream belongs to another context.
  public func record(on stream: Stream) throws(CUDAError) {
    try stream.require(context, "Event.record", "the event")
    try context.call("cuEventRecord", "Event.record") { $0.eventRecord(handle, stream.handle) }
  }

  /// Waits until the recorded work is done. The corresponding driver function is
  /// cuEventSynchronize.
  public func synchronize() throws(CUDAError) {
    try context.call("cuEventSynchronize", "Event.synchronize") { $0.eventSynchronize(handle) }
  }

  /// Whether the recorded work is done. The corresponding driver function is cuEventQuery.
  public func isComplete() throws(CUDAError) -> Bool {
    try context.withCurrent("Event.isComplete") { () throws(CUDAError) -> Bool in
      let status = context.table.eventQuery(handle)
      if status == Int32(CAPUS_ERROR_NOT_READY) { return false }
      try context.table.check(status, "cuEventQuery", "Event.isComplete")
      return true
    }
  }

  /// Milliseconds from `start` to this event, both recorded with timing and complete; the driver
  /// resolves about half a microsecond. The corresponding driver function is cuEventElapsedTime.
  public func milliseconds(since start: borrowing Event) throws(CUDAError) -> Double {
    var elapsed: Float = 0
    let begin = start.handle
    try context.call("cuEventElapsedTime", "Event.milliseconds") {
      $0.eventElapsedTime(&elapsed, begin, handle)
    }
    return Double(elapsed)
  }
}

extension Stream {
  /// Throws unless the stream belongs to `other`: a handle of one device used with a stream of
  /// another is refused here, where the message can say so.
  func require(_ other: Context, _ operation: String, _ what: String, kernel: String? = nil)
    throws(CUDAError)
  {
    if context.handle == other.handle { return }
    throw .argument(
      operation,
      [
        .init(
          "the stream must belong to the context of \(what), device \(other.device.ordinal)",
          found: "a stream of device \(context.device.ordinal)")
      ], kernel: kernel)
  }
}
