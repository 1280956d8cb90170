internal import CApusDriver

/// A queue of device work: our own, borrowed from the caller, or one of the driver's default ones.
///
/// A value that may be copied: the last copy of an own stream destroys it, after the driver has
/// finished its work. A borrowed stream is never destroyed here and its owner must keep it.
public struct Stream: Sendable {
  /// The context it belongs to.
  public let context: Context
  /// The driver's handle; 0 is the legacy default stream.
  public let handle: UInt
  private let owner: Owner?

  private final class Owner: Sendable {
    let context: Context
    let handle: UInt

    init(context: Context, handle: UInt) {
      self.context = context
      self.handle = handle
    }

    deinit {
      let handle = handle
      context.release("cuStreamDestroy", "Stream.deinit") { $0.streamDestroy(handle) }
    }
  }

  /// Makes a stream that does not wait for the legacy default stream. The corresponding driver
  /// function is cuStreamCreateWithPriority.
  ///
  /// - Parameter priority: lower is more urgent; the driver clamps it to
  ///   `Context.streamPriorities()`.
  public init(in context: Context, priority: Int = 0) throws(CUDAError) {
    var handle: UInt = 0
    try context.call("cuStreamCreateWithPriority", "Stream.init") {
      $0.streamCreate(
        &handle, UInt32(CAPUS_STREAM_NON_BLOCKING), Int32(clamping: priority))
    }
    self.init(context: context, handle: handle, owner: Owner(context: context, handle: handle))
  }

  /// Borrows a stream, such as PyTorch's current one. The corresponding driver function is
  /// cuStreamGetCtx.
  ///
  /// - Throws: `.argument` when the stream belongs to another context.
  public init(borrowing handle: UInt, in context: Context) throws(CUDAError) {
    // The default streams exist in every context.
    if handle > UInt(CAPUS_STREAM_PER_THREAD) {
      var owner: UInt = 0
      try context.call("cuStreamGetCtx", "Stream.init") { $0.streamGetCtx(handle, &owner) }
      guard owner == context.handle else {
        throw .argument(
          "Stream.init",
          [
            .init(
              "the borrowed stream must belong to the context of device \(context.device.ordinal)",
              found: "a stream of another context")
          ])
      }
    }
    self.init(context: context, handle: handle, owner: nil)
  }

  private init(context: Context, handle: UInt, owner: Owner?) {
    self.context = context
    self.handle = handle
    self.owner = owner
  }

  /// The default stream that all threads share and that waits for blocking streams.
  public static func legacyDefault(of context: Context) -> Stream {
    Stream(context: context, handle: 0, owner: nil)
  }

  /// The calling thread's own default stream.
  public static func perThreadDefault(of context: Context) -> Stream {
    Stream(context: context, handle: UInt(CAPUS_STREAM_PER_THREAD), owner: nil)
  }

  /// Waits until all work of the stream is done. The corresponding driver function is
  /// cuStreamSynchronize.
  public func synchronize() throws(CUDAError) {
    try context.call("cuStreamSynchronize", "Stream.synchronize") { $0.streamSynchronize(handle) }
  }

  /// Whether all work of the stream is done. The corresponding driver function is cuStreamQuery.
  public func isIdle() throws(CUDAError) -> Bool {
    try context.withCurrent("Stream.isIdle") { () throws(CUDAError) -> Bool in
      let status = context.table.streamQuery(handle)
      if status == Int32(CAPUS_ERROR_NOT_READY) { return false }
      try context.table.check(status, "cuStreamQuery", "Stream.isIdle")
      return true
    }
  }

  /// The stream's priority. The corresponding driver function is cuStreamGetPriority.
  public func priority() throws(CUDAError) -> Int {
    var priority: Int32 = 0
    try context.call("cuStreamGetPriority", "Stream.priority") {
      $0.streamGetPriority(handle, &priority)
    }
    return Int(priority)
  }

  /// Makes later work of this stream wait for an event, which may be of another device. The
  /// corresponding driver function is cuStreamWaitEvent.
  public func wait(for event: borrowing Event) throws(CUDAError) {
    let event = event.handle
    try context.call("cuStreamWaitEvent", "Stream.wait") {
      $0.streamWaitEvent(handle, event, 0)
    }
  }
}
