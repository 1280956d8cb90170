// Copies and fills. Sizes must agree exactly: a copy that would end at the shorter of two ranges
// hides a mistake. Zero bytes cost no driver call.
extension Stream {
  /// Enqueues a copy from host memory, which must stay valid and unchanged until the stream has
  /// done it; only pinned memory makes it asynchronous. The corresponding driver function is
  /// cuMemcpyHtoDAsync.
  public func copy(from source: UnsafeRawBufferPointer, to destination: DeviceView)
    throws(CUDAError)
  {
    try requireSame(source.count, destination.byteCount, "Stream.copy")
    guard let base = source.baseAddress, source.count > 0 else { return }
    try context.call("cuMemcpyHtoDAsync", "Stream.copy") {
      $0.memcpyHtoDAsync(destination.address, base, source.count, handle)
    }
  }

  /// Enqueues a copy of values, which must stay where they are until the stream has done it: the
  /// caller keeps the array and waits. The corresponding driver function is cuMemcpyHtoDAsync.
  public func copy<Element: BitwiseCopyable>(
    _ values: [Element], to destination: DeviceView
  ) throws(CUDAError) {
    let copied: Result<Void, CUDAError> = values.withUnsafeBytes { bytes in
      Result { () throws(CUDAError) in try copy(from: bytes, to: destination) }
    }
    try copied.get()
  }

  /// Enqueues a copy to host memory, which must stay valid until the stream has done it; only
  /// pinned memory makes it asynchronous. The corresponding driver function is cuMemcpyDtoHAsync.
  public func copy(from source: DeviceView, to destination: UnsafeMutableRawBufferPointer)
    throws(CUDAError)
  {
    try requireSame(source.byteCount, destination.count, "Stream.copy")
    guard let base = destination.baseAddress, source.byteCount > 0 else { return }
    try context.call("cuMemcpyDtoHAsync", "Stream.copy") {
      $0.memcpyDtoHAsync(base, source.address, source.byteCount, handle)
    }
  }

  /// Enqueues a copy between two places of this device. The corresponding driver function is
  /// cuMemcpyDtoDAsync.
  public func copy(from source: DeviceView, to destination: DeviceView) throws(CUDAError) {
    try requireSame(source.byteCount, destination.byteCount, "Stream.copy")
    guard source.byteCount > 0 else { return }
    try context.call("cuMemcpyDtoDAsync", "Stream.copy") {
      $0.memcpyDtoDAsync(destination.address, source.address, source.byteCount, handle)
    }
  }

  /// Enqueues a copy between devices, with or without peer access. The corresponding driver
  /// function is cuMemcpyPeerAsync.
  public func copy(
    from source: DeviceView, in sourceContext: Context, to destination: DeviceView,
    in destinationContext: Context
  ) throws(CUDAError) {
    try requireSame(source.byteCount, destination.byteCount, "Stream.copy")
    guard source.byteCount > 0 else { return }
    try context.call("cuMemcpyPeerAsync", "Stream.copy") {
      $0.memcpyPeerAsync(
        destination.address, destinationContext.handle, source.address, sourceContext.handle,
        source.byteCount, handle)
    }
  }

  /// Enqueues setting every byte. The corresponding driver function is cuMemsetD8Async.
  public func fill(_ destination: DeviceView, byte: UInt8) throws(CUDAError) {
    guard destination.byteCount > 0 else { return }
    try context.call("cuMemsetD8Async", "Stream.fill") {
      $0.memsetD8Async(destination.address, byte, destination.byteCount, handle)
    }
  }

  /// Enqueues setting every 32-bit word. The corresponding driver function is cuMemsetD32Async.
  ///
  /// - Throws: `.argument` unless address and size are multiples of 4.
  public func fill(_ destination: DeviceView, word: UInt32) throws(CUDAError) {
    guard destination.byteCount % 4 == 0, destination.address % 4 == 0 else {
      throw .argument(
        "Stream.fill",
        [.init("address and byteCount must be multiples of 4", found: "\(destination)")])
    }
    guard destination.byteCount > 0 else { return }
    try context.call("cuMemsetD32Async", "Stream.fill") {
      $0.memsetD32Async(destination.address, word, destination.byteCount / 4, handle)
    }
  }
}

extension Context {
  /// Copies values to the device and returns when that is done. The corresponding driver function
  /// is cuMemcpyHtoD.
  public func copy<Element: BitwiseCopyable>(
    _ values: [Element], to destination: DeviceView
  ) throws(CUDAError) {
    let byteCount = values.count * MemoryLayout<Element>.stride
    try requireSame(byteCount, destination.byteCount, "Context.copy")
    if byteCount == 0 { return }
    try call("cuMemcpyHtoD", "Context.copy") { table in
      values.withUnsafeBytes { bytes in
        // Not nil: the array is not empty.
        bytes.baseAddress.map { table.memcpyHtoD(destination.address, $0, byteCount) } ?? 0
      }
    }
  }

  /// Fills an array from the device and returns when that is done. The corresponding driver
  /// function is cuMemcpyDtoH.
  public func copy<Element: BitwiseCopyable>(
    from source: DeviceView, to values: inout [Element]
  ) throws(CUDAError) {
    let byteCount = values.count * MemoryLayout<Element>.stride
    try requireSame(source.byteCount, byteCount, "Context.copy")
    if byteCount == 0 { return }
    try call("cuMemcpyDtoH", "Context.copy") { table in
      values.withUnsafeMutableBytes { bytes in
        bytes.baseAddress.map { table.memcpyDtoH($0, source.address, byteCount) } ?? 0
      }
    }
  }
}

private func requireSame(_ source: Int, _ destination: Int, _ operation: String) throws(CUDAError) {
  if source == destination { return }
  throw .argument(
    operation,
    [
      .init(
        "source and destination must have the same number of bytes",
        found: "\(source) and \(destination)")
    ])
}
