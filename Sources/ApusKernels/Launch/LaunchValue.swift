public import ApusIR

/// The value of one kernel parameter, independent of what runs the kernel.
public enum LaunchValue: Sendable, Hashable {
  /// A 32-bit number.
  case u32(UInt32)
  /// A signed 32-bit number.
  case s32(Int32)
  /// A 64-bit number.
  case u64(UInt64)
  /// A binary32 number.
  case f32(Float)
  /// An address in the memory of whatever runs the kernel; 0 for an operand that is not there.
  case pointer(UInt64)
  /// An address within the plan's metadata: host lists that the back end placed in device memory.
  case metadata(byteOffset: Int)
  /// An address within the plan's workspace.
  case workspace(byteOffset: Int)
  /// A tensor map.
  case tensorMap(TensorMapLayout)
}

/// A tensor in device memory and the box that one tensor copy moves, as a kernel's author thinks of
/// it; launchers encode it for the driver (`cuTensorMapEncodeTiled`) or for the simulator.
///
/// Axes are innermost (contiguous) first. Elements outside the tensor read as 0.
public struct TensorMapLayout: Sendable, Hashable {
  /// Element types that tensor maps tell apart.
  public enum Element: Sendable, Hashable {
    case u8, u16, u32, f16, bf16, f32

    /// Bytes of an element.
    public var byteCount: Int {
      switch self {
      case .u8: 1
      case .u16, .f16, .bf16: 2
      case .u32, .f32: 4
      }
    }
  }

  /// Type of an element.
  public var element: Element
  /// Address of element 0.
  public var address: UInt64
  /// Elements along each axis: 1 to 5 axes.
  public var sizes: [Int]
  /// Bytes between neighbours along axes 1…; one fewer than `sizes`, multiples of 16.
  public var byteStrides: [Int]
  /// Elements of a box along each axis.
  public var box: [Int]
  /// Permutation of the box in shared memory.
  public var swizzle: Swizzle
  /// Bytes that a miss fetches into L2: 0, 64, 128 or 256.
  public var l2PromotionByteCount: Int

  /// A layout.
  public init(
    _ element: Element, address: UInt64, sizes: [Int], byteStrides: [Int], box: [Int],
    swizzle: Swizzle = .none, l2PromotionByteCount: Int = 128
  ) {
    self.element = element
    self.address = address
    self.sizes = sizes
    self.byteStrides = byteStrides
    self.box = box
    self.swizzle = swizzle
    self.l2PromotionByteCount = l2PromotionByteCount
  }
}
