/// Permutation of 16-byte chunks that keeps rows of a shared tile free of bank conflicts.
///
/// The chunk index within the row (address bits 4…) is XORed with the row's index within the atom:
/// a function of absolute shared-address bits, so tiles are aligned to `atomBytes`. The same
/// permutation is applied by tensor copies and `wgmma` descriptors; ordinary accesses apply it by
/// hand (PTX § Shared Memory Matrix Layout; CUDA driver API, `CUtensorMapSwizzle`).
public enum Swizzle: UInt8, Sendable, Hashable, CaseIterable {
  /// No permutation.
  case none
  /// Rows of 32 bytes, address bit 4 ^= bit 7.
  case bytes32
  /// Rows of 64 bytes, address bits 4–5 ^= bits 7–8.
  case bytes64
  /// Rows of 128 bytes, address bits 4–6 ^= bits 7–9.
  case bytes128

  /// Row length in bytes; 16 without a swizzle.
  public var rowBytes: Int {
    switch self {
    case .none: 16
    case .bytes32: 32
    case .bytes64: 64
    case .bytes128: 128
    }
  }

  /// Bytes after which the pattern repeats; the alignment that tiles need.
  public var atomBytes: Int {
    switch self {
    case .none: 128
    case .bytes32: 256
    case .bytes64: 512
    case .bytes128: 1024
    }
  }

  /// The physical byte address of a logical one.
  public func apply(_ address: Int) -> Int {
    let mask = rowBytes / 16 - 1
    return address ^ ((address >> 7) & mask) << 4
  }
}

/// The 64-bit description of a shared `wgmma` operand.
///
/// Bits 0–13: start ÷ 16; 16–29: leading offset ÷ 16; 32–45: stride offset ÷ 16; 49–51: base
/// offset, 0 for aligned atoms; 62–63: swizzle, 0 none, 1 128-byte, 2 64-byte, 3 32-byte.
/// Source: PTX § Matrix-descriptor.
public struct MatrixDescriptor: Sendable, Hashable {
  /// First byte in the block's shared window, a multiple of 16; only the low 18 bits count.
  public var start: Int
  /// Bytes between core-matrix groups along the leading dimension; ignored by swizzled K-major
  /// operands. A multiple of 16.
  public var leadingOffset: Int
  /// Bytes between groups of eight rows (eight k of an MN-major operand). A multiple of 16.
  public var strideOffset: Int
  /// Chunk permutation.
  public var swizzle: Swizzle

  /// A descriptor.
  public init(start: Int, leadingOffset: Int, strideOffset: Int, swizzle: Swizzle) {
    self.start = start
    self.leadingOffset = leadingOffset
    self.strideOffset = strideOffset
    self.swizzle = swizzle
  }

  /// The descriptor with these bits; the base offset is dropped.
  public init(bits: UInt64) {
    func field(_ shift: UInt64) -> Int { Int(bits >> shift & 0x3FFF) << 4 }
    let modes: [Swizzle] = [.none, .bytes128, .bytes64, .bytes32]
    self.init(
      start: field(0), leadingOffset: field(16), strideOffset: field(32),
      swizzle: modes[Int(bits >> 62)])
  }

  /// The bits; stepping an operand adds to the low word in units of 16 bytes.
  public var bits: UInt64 {
    func field(_ bytes: Int, _ shift: UInt64) -> UInt64 {
      (UInt64(truncatingIfNeeded: bytes) >> 4 & 0x3FFF) << shift
    }
    let mode: UInt64 =
      switch swizzle {
      case .none: 0
      case .bytes128: 1
      case .bytes64: 2
      case .bytes32: 3
      }
    return field(start, 0) | field(leadingOffset, 16) | field(strideOffset, 32) | mode << 62
  }
}
