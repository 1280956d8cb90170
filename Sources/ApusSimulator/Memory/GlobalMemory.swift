/// Device memory: buffers of its own at fixed addresses with unmapped space between them, and
/// mapped memory of the host at the host's addresses.
public struct GlobalMemory: Sendable, Hashable {
  /// One buffer.
  public struct Buffer: Sendable, Hashable {
    /// The name in reports.
    public var name: String
    /// Address of the first byte.
    public var address: UInt64
    /// The contents.
    public var bytes: [UInt8]
    /// Whether kernels may write it.
    public var isWritable: Bool
    /// For each byte whether it was written, by the host or a kernel.
    public internal(set) var isWritten: [Bool]
  }

  /// A range of host memory.
  struct Mapping: Sendable, Hashable {
    var name: String
    var address: UInt
    var byteCount: Int
    var isWritable: Bool
    /// For each byte whether it was written; empty if all were.
    var isWritten: [Bool]
  }

  /// First address of `bind`: above every address that user space has with 48-bit pointers, so
  /// that no mapped host memory is there.
  static let firstAddress: UInt64 = 0x1_0000_0000_0000

  /// The buffers in ascending order of address.
  public internal(set) var buffers: [Buffer] = []
  var mappings: [Mapping] = []

  /// No buffers.
  public init() {}

  /// Binds a buffer at a fresh address, aligned to 256 bytes and far from all others.
  ///
  /// - Returns: the address for `KernelArgument.pointer`.
  public mutating func bind(
    _ name: String, bytes: [UInt8], isWritable: Bool = false, isWritten: Bool = true
  ) -> UInt64 {
    let end = buffers.last.map { $0.address + UInt64($0.bytes.count) } ?? Self.firstAddress
    let address = (end + 0x1_0000) & ~UInt64(0xFF)
    buffers.append(
      Buffer(
        name: name, address: address, bytes: bytes, isWritable: isWritable,
        isWritten: Array(repeating: isWritten, count: bytes.count)))
    return address
  }

  /// Binds the bytes of an array of trivial elements.
  public mutating func bind<Element: BitwiseCopyable>(
    _ name: String, elements: [Element], isWritable: Bool = false
  ) -> UInt64 {
    bind(name, bytes: elements.withUnsafeBytes { Array($0) }, isWritable: isWritable)
  }

  /// Binds an output: `count` writable bytes that count as unwritten.
  public mutating func bindOutput(_ name: String, byteCount: Int) -> UInt64 {
    bind(name, bytes: Array(repeating: 0, count: byteCount), isWritable: true, isWritten: false)
  }

  /// Maps memory of the host: kernels read and write it in place, at its own address.
  ///
  /// Mapped ranges may touch, overlap and lie in one allocation. An access must lie within one of
  /// them, a write within a writable one; a byte that several ranges share is written if one of
  /// them says so.
  ///
  /// - Important: The memory must stay valid while this value is used, and nothing else may write
  ///   it during a run.
  /// - Returns: the address for `KernelArgument.pointer`; 0 for a range without memory.
  @discardableResult
  public mutating func map(
    _ name: String, _ bytes: UnsafeMutableRawBufferPointer, isWritable: Bool,
    isWritten: Bool = true
  ) -> UInt64 {
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return 0 }
    mappings.append(
      Mapping(
        name: name, address: UInt(bitPattern: base), byteCount: bytes.count,
        isWritable: isWritable,
        isWritten: isWritten ? [] : Array(repeating: false, count: bytes.count)))
    return UInt64(UInt(bitPattern: base))
  }

  /// The contents of the buffer at `address` as whole elements; empty if no buffer starts there.
  public func elements<Element: BitwiseCopyable>(at address: UInt64, as: Element.Type) -> [Element]
  {
    guard let buffer = buffers.first(where: { $0.address == address }) else { return [] }
    return buffer.bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / MemoryLayout<Element>.stride).map {
        bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: Element.self)
      }
    }
  }
}
