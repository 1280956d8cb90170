/// A value that a kernel parameter can take, copied byte for byte.
public protocol KernelArgument: BitwiseCopyable {
  /// Alignment of the parameter in PTX's terms.
  static var parameterAlignment: Int { get }
}

extension KernelArgument {
  /// The value's own alignment.
  public static var parameterAlignment: Int { MemoryLayout<Self>.alignment }
}

extension UInt8: KernelArgument {}
extension UInt16: KernelArgument {}
extension UInt32: KernelArgument {}
extension UInt64: KernelArgument {}
extension Int32: KernelArgument {}
extension Int64: KernelArgument {}
extension Float: KernelArgument {}
extension Double: KernelArgument {}

/// The parameters of a launch, packed once and used for any number of launches.
///
/// Values are appended in the order of the kernel's parameters. `replace` changes one in place, so
/// that a launch allocates nothing on the host either. The driver copies the values during the
/// launch: they may change as soon as it returns.
public struct KernelArguments: ~Copyable {
  private var storage: UnsafeMutableRawBufferPointer
  private var offsets: [Int] = []
  private var sizes: [Int] = []
  private var used = 0
  private var addresses: [UnsafeMutableRawPointer?] = []

  /// An empty list with room for `byteCapacity` bytes; it grows when needed.
  public init(byteCapacity: Int = 512) {
    storage = .allocate(
      byteCount: max(Self.alignment, byteCapacity), alignment: Self.alignment)
  }

  deinit { storage.deallocate() }

  /// The greatest alignment of a parameter: a tensor map's.
  private static var alignment: Int { 128 }

  /// Number of parameters.
  public var count: Int { offsets.count }

  /// Sizes of the parameters in bytes, in order.
  public var byteCounts: [Int] { sizes }

  /// Appends a value.
  public mutating func append<Value: KernelArgument>(_ value: Value) {
    let size = MemoryLayout<Value>.size
    let alignment = Value.parameterAlignment
    let offset = (used + alignment - 1) / alignment * alignment
    reserve(offset + size)
    withUnsafeBytes(of: value) { bytes in
      UnsafeMutableRawBufferPointer(rebasing: storage[offset..<offset + size])
        .copyMemory(from: bytes)
    }
    offsets.append(offset)
    sizes.append(size)
    addresses.append(storage.baseAddress.map { $0 + offset })
    used = offset + size
  }

  /// Appends the address of device memory.
  public mutating func append(_ view: DeviceView) { append(view.address) }

  /// Puts another value in the place of parameter `index`.
  ///
  /// - Throws: `.argument` when there is no such parameter or its size differs.
  public mutating func replace<Value: KernelArgument>(
    _ index: Int, with value: Value
  ) throws(CUDAError) {
    let size = MemoryLayout<Value>.size
    guard sizes.indices.contains(index), sizes[index] == size else {
      let found =
        sizes.indices.contains(index)
        ? "\(sizes[index]) bytes at \(index)" : "index \(index) of \(sizes.count)"
      throw .argument(
        "KernelArguments.replace",
        [.init("the parameter must exist and have the value's \(size) bytes", found: found)])
    }
    let offset = offsets[index]
    withUnsafeBytes(of: value) { bytes in
      UnsafeMutableRawBufferPointer(rebasing: storage[offset..<offset + size])
        .copyMemory(from: bytes)
    }
  }

  /// Puts another address in the place of parameter `index`.
  public mutating func replace(_ index: Int, with view: DeviceView) throws(CUDAError) {
    try replace(index, with: view.address)
  }

  /// The array of addresses that a launch passes; valid during `body`. The driver only reads it.
  borrowing func withAddresses<Result>(
    _ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> Result
  ) -> Result {
    addresses.withUnsafeBufferPointer { body(UnsafeMutablePointer(mutating: $0.baseAddress)) }
  }

  private mutating func reserve(_ byteCount: Int) {
    if byteCount <= storage.count { return }
    let grown = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(byteCount, 2 * storage.count), alignment: Self.alignment)
    grown.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[..<used]))
    storage.deallocate()
    storage = grown
    addresses = offsets.map { offset in grown.baseAddress.map { $0 + offset } }
  }
}
