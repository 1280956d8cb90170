public import ApusIR

/// Device memory: buffers at fixed addresses with unmapped space between them.
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

  /// The buffers in ascending order of address.
  public private(set) var buffers: [Buffer] = []

  /// No buffers.
  public init() {}

  /// Binds a buffer at a fresh address, aligned to 256 bytes and far from all others.
  ///
  /// - Returns: the address for `KernelArgument.pointer`.
  public mutating func bind(
    _ name: String, bytes: [UInt8], isWritable: Bool = false, isWritten: Bool = true
  ) -> UInt64 {
    let end = buffers.last.map { $0.address + UInt64($0.bytes.count) } ?? 0x7000_0000_0000
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

  /// Buffer and offset of a range that lies in one buffer.
  func locate(_ address: UInt64, byteCount: Int) -> (buffer: Int, offset: Int)? {
    for (index, buffer) in buffers.enumerated() where address >= buffer.address {
      let offset = address - buffer.address
      guard let offset = Int(exactly: offset) else { continue }
      if offset <= buffer.bytes.count, byteCount <= buffer.bytes.count - offset {
        return (index, offset)
      }
    }
    return nil
  }

  /// Whether all bytes of a located range were written.
  func isWritten(_ place: (buffer: Int, offset: Int), byteCount: Int) -> Bool {
    buffers[place.buffer].isWritten[place.offset..<place.offset + byteCount].allSatisfy { $0 }
  }

  /// Little-endian bytes of a located range, at most eight.
  func load(_ place: (buffer: Int, offset: Int), byteCount: Int) -> UInt64 {
    var bits: UInt64 = 0
    for index in 0..<byteCount {
      bits |= UInt64(buffers[place.buffer].bytes[place.offset + index]) << UInt64(8 * index)
    }
    return bits
  }

  /// Writes little-endian bytes of a located range, at most eight.
  mutating func store(_ place: (buffer: Int, offset: Int), _ bits: UInt64, byteCount: Int) {
    for index in 0..<byteCount {
      buffers[place.buffer].bytes[place.offset + index] = UInt8(
        truncatingIfNeeded: bits >> UInt64(8 * index))
      buffers[place.buffer].isWritten[place.offset + index] = true
    }
  }
}

/// What the host encodes into a tensor map (CUDA driver API, `cuTensorMapEncodeTiled`).
public struct TensorMapDescription: Sendable, Hashable {
  /// Address of element 0.
  public var address: UInt64
  /// Element size in bytes: 1, 2, 4 or 8.
  public var elementByteCount: Int
  /// Elements along each dimension, innermost first; 1…5 of them.
  public var sizes: [Int]
  /// Bytes between neighbours along dimensions 1…; one fewer than `sizes`.
  public var strides: [Int]
  /// Elements of a box along each dimension.
  public var box: [Int]
  /// Permutation of the box in shared memory; a box row is at most its length.
  public var swizzle: Swizzle

  /// A description.
  public init(
    address: UInt64, elementByteCount: Int, sizes: [Int], strides: [Int], box: [Int],
    swizzle: Swizzle = .none
  ) {
    self.address = address
    self.elementByteCount = elementByteCount
    self.sizes = sizes
    self.strides = strides
    self.box = box
    self.swizzle = swizzle
  }
}
