internal import CApusDriver

/// Device memory that is freed when the buffer goes.
///
/// 0 bytes are a valid size: such a buffer has address 0 and costs no driver call.
public struct DeviceBuffer: ~Copyable, Sendable {
  /// The context it belongs to.
  public let context: Context
  /// Address of the first byte; 0 for an empty buffer.
  public private(set) var address: UInt64
  /// Number of bytes.
  public let byteCount: Int
  /// The stream in whose order it was allocated and will be freed; nil for plain memory.
  public let stream: Stream?

  /// Allocates memory; may wait for the device. The corresponding driver function is cuMemAlloc.
  ///
  /// - Throws: `.argument` for a negative size; `.call`, for example CUDA_ERROR_OUT_OF_MEMORY.
  public init(byteCount: Int, in context: Context) throws(CUDAError) {
    try requireSize(byteCount, "DeviceBuffer.init")
    var address: UInt64 = 0
    if byteCount > 0 {
      try context.call("cuMemAlloc", "DeviceBuffer.init") { $0.memAlloc(&address, byteCount) }
    }
    self.context = context
    self.address = address
    self.byteCount = byteCount
    stream = nil
  }

  /// Allocates memory in the order of a stream: work enqueued there later may use it, and it is
  /// freed behind the work that the stream has when the buffer goes. The corresponding driver
  /// function is cuMemAllocAsync.
  public init(byteCount: Int, on stream: Stream) throws(CUDAError) {
    try requireSize(byteCount, "DeviceBuffer.init")
    var address: UInt64 = 0
    if byteCount > 0 {
      try stream.context.call("cuMemAllocAsync", "DeviceBuffer.init") {
        $0.memAllocAsync(&address, byteCount, stream.handle)
      }
    }
    context = stream.context
    self.address = address
    self.byteCount = byteCount
    self.stream = stream
  }

  deinit {
    let address = address
    if address == 0 { return }
    if let stream {
      context.release("cuMemFreeAsync", "DeviceBuffer.deinit") {
        $0.memFreeAsync(address, stream.handle)
      }
    } else {
      context.release("cuMemFree", "DeviceBuffer.deinit") { $0.memFree(address) }
    }
  }

  /// Frees now and throws if that fails, where `deinit` could only report. The corresponding driver
  /// functions are cuMemFree and cuMemFreeAsync.
  public consuming func free() throws(CUDAError) {
    let freed = address
    if freed == 0 { return }
    let (table, stream) = (context.table, stream)
    var status: DriverTable.Status = 0
    try context.withCurrent("DeviceBuffer.free") { () throws(CUDAError) in
      status = stream.map { table.memFreeAsync(freed, $0.handle) } ?? table.memFree(freed)
    }
    // From here on `deinit` has nothing to do: what the driver refused once it refuses again.
    address = 0
    try table.check(
      status, stream == nil ? "cuMemFree" : "cuMemFreeAsync", "DeviceBuffer.free")
  }

  /// The memory as a value that does not own it; valid as long as the buffer.
  public var view: DeviceView { DeviceView(address: address, byteCount: byteCount) }
}

/// Host memory that the device reads and writes directly; copies to and from it are asynchronous.
public struct PinnedBuffer: ~Copyable, @unchecked Sendable {
  // Sendable: the address is never changed, and the memory is not touched by this type.
  /// The context it was made in.
  public let context: Context
  /// The bytes; valid as long as the buffer. Empty for 0 bytes.
  public let bytes: UnsafeMutableRawBufferPointer

  /// Allocates pinned memory that all contexts may use. The corresponding driver function is
  /// cuMemHostAlloc.
  public init(byteCount: Int, in context: Context) throws(CUDAError) {
    try requireSize(byteCount, "PinnedBuffer.init")
    var address: UnsafeMutableRawPointer?
    if byteCount > 0 {
      try context.call("cuMemHostAlloc", "PinnedBuffer.init") {
        $0.memHostAlloc(&address, byteCount, UInt32(CAPUS_HOST_PORTABLE))
      }
    }
    self.context = context
    bytes = UnsafeMutableRawBufferPointer(start: address, count: address == nil ? 0 : byteCount)
  }

  deinit {
    guard let address = bytes.baseAddress else { return }
    context.release("cuMemFreeHost", "PinnedBuffer.deinit") { $0.memFreeHost(address) }
  }
}

private func requireSize(_ byteCount: Int, _ operation: String) throws(CUDAError) {
  if byteCount >= 0 { return }
  throw .argument(operation, [.init("byteCount must not be negative", found: "\(byteCount)")])
}
