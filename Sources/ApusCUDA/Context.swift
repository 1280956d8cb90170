/// A context of one device: what handles belong to and what must be current for calls about them.
///
/// A class, because every buffer, stream, event and module keeps its context alive: the last one to
/// go releases it. Operations make it current for their own duration, so any thread may use any
/// handle, whatever context the thread had; the thread's context is restored.
public final class Context: Sendable {
  /// The device that it belongs to.
  public let device: Device
  /// The driver's handle.
  public let handle: UInt
  /// Whether this object holds a reference to the primary context and gives it back.
  public let isRetained: Bool

  /// The driver that knows it.
  public var driver: Driver { device.driver }
  var table: DriverTable {
    // Lent, not copied: a copy retains every function.
    @inline(__always) _read { yield device.driver.table }
  }

  init(device: Device, handle: UInt, isRetained: Bool) {
    self.device = device
    self.handle = handle
    self.isRetained = isRetained
  }

  deinit {
    guard isRetained else { return }
    let status = table.primaryCtxRelease(device.handle)
    reportRelease(status, "cuDevicePrimaryCtxRelease", "Context.deinit")
  }

  /// The primary context of a device, which the CUDA runtime and PyTorch use too; created if nobody
  /// uses it yet. The corresponding driver function is cuDevicePrimaryCtxRetain.
  public static func primary(of device: Device) throws(CUDAError) -> Context {
    let table = device.driver.table
    var handle: UInt = 0
    try table.check(
      table.primaryCtxRetain(&handle, device.handle), "cuDevicePrimaryCtxRetain",
      "Context.primary")
    return Context(device: device, handle: handle, isRetained: true)
  }

  /// The calling thread's current context, nil if it has none.
  ///
  /// If that is a device's primary context (PyTorch's case), it is retained and stays valid as long
  /// as this object; a context of another kind is borrowed and its owner must keep it. The
  /// corresponding driver functions are cuCtxGetCurrent and cuDevicePrimaryCtxRetain.
  public static func current(of driver: Driver) throws(CUDAError) -> Context? {
    let operation = "Context.current"
    let table = driver.table
    var handle: UInt = 0
    try table.check(table.ctxGetCurrent(&handle), "cuCtxGetCurrent", operation)
    if handle == 0 { return nil }
    var ordinal: Int32 = 0
    try table.check(table.ctxGetDevice(&ordinal), "cuCtxGetDevice", operation)
    let device = try Device(handle: ordinal, of: driver)
    // Retaining an inactive primary context would create one.
    var flags: UInt32 = 0
    var active: Int32 = 0
    try table.check(
      table.primaryCtxGetState(ordinal, &flags, &active), "cuDevicePrimaryCtxGetState", operation)
    if active != 0 {
      let primary = try Context.primary(of: device)
      if primary.handle == handle { return primary }
    }
    return Context(device: device, handle: handle, isRetained: false)
  }

  /// Runs `body` with this context current, then restores the thread's own.
  ///
  /// A failure to restore is reported to the observer and not thrown: `body` has happened. The
  /// corresponding driver functions are cuCtxGetCurrent, cuCtxPushCurrent and cuCtxPopCurrent; where
  /// the context is current already, only the first is called.
  @inline(__always)
  public func withCurrent<Result: ~Copyable>(
    _ operation: String, _ body: () throws(CUDAError) -> Result
  ) throws(CUDAError) -> Result {
    var current: UInt = 0
    try table.check(table.ctxGetCurrent(&current), "cuCtxGetCurrent", operation)
    if current == handle { return try body() }
    try table.check(table.ctxPushCurrent(handle), "cuCtxPushCurrent", operation)
    defer { pop(operation) }
    return try body()
  }

  /// Runs a driver call with this context current and throws unless it succeeds.
  @inline(__always)
  func call(
    _ function: String, _ operation: String, kernel: String? = nil,
    _ body: (DriverTable) -> DriverTable.Status
  ) throws(CUDAError) {
    try withCurrent(operation) { () throws(CUDAError) in
      try table.check(body(table), function, operation, kernel: kernel)
    }
  }

  /// Gives back a handle of this context in a `deinit`: failures are reported, never thrown.
  ///
  /// If the context cannot be made current, the handle is given back all the same: the driver finds
  /// most objects without it.
  func release(
    _ function: String, _ operation: String, _ body: (DriverTable) -> DriverTable.Status
  ) {
    var current: UInt = 0
    let found = table.ctxGetCurrent(&current)
    reportRelease(found, "cuCtxGetCurrent", operation)
    if found == 0, current == handle {
      reportRelease(body(table), function, operation)
      return
    }
    let pushed = table.ctxPushCurrent(handle)
    reportRelease(pushed, "cuCtxPushCurrent", operation)
    reportRelease(body(table), function, operation)
    if pushed == 0 { pop(operation) }
  }

  private func pop(_ operation: String) {
    var popped: UInt = 0
    reportRelease(table.ctxPopCurrent(&popped), "cuCtxPopCurrent", operation)
  }

  func reportRelease(
    _ status: DriverTable.Status, _ function: String, _ operation: String
  ) {
    if status == 0 { return }
    driver.report(.releaseFailed(table.error(status, function, operation)))
  }
}

extension Context {
  /// Waits until all work of the context is done. The corresponding driver function is
  /// cuCtxSynchronize.
  public func synchronize() throws(CUDAError) {
    try call("cuCtxSynchronize", "Context.synchronize") { $0.ctxSynchronize() }
  }

  /// Free and total bytes of the device's memory. The corresponding driver function is cuMemGetInfo.
  public func memory() throws(CUDAError) -> (free: Int, total: Int) {
    var free = 0
    var total = 0
    try call("cuMemGetInfo", "Context.memory") { $0.memGetInfo(&free, &total) }
    return (free, total)
  }

  /// Stream priorities: the greatest urgency is the lowest number. The corresponding driver function
  /// is cuCtxGetStreamPriorityRange.
  public func streamPriorities() throws(CUDAError) -> ClosedRange<Int> {
    var least: Int32 = 0
    var greatest: Int32 = 0
    try call("cuCtxGetStreamPriorityRange", "Context.streamPriorities") {
      $0.ctxGetStreamPriorityRange(&least, &greatest)
    }
    return Int(min(least, greatest))...Int(max(least, greatest))
  }

  /// Lets kernels of this context reach memory of `peer`; enabled twice is enabled. The
  /// corresponding driver function is cuCtxEnablePeerAccess.
  public func enablePeerAccess(to peer: Context) throws(CUDAError) {
    let operation = "Context.enablePeerAccess"
    try withCurrent(operation) { () throws(CUDAError) in
      let status = table.ctxEnablePeerAccess(peer.handle, 0)
      if status == Self.alreadyEnabled { return }
      try table.check(status, "cuCtxEnablePeerAccess", operation)
    }
  }

  /// CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED.
  private static var alreadyEnabled: DriverTable.Status { 704 }
}
