/// A tensor in device memory and the box that one bulk tensor copy moves: what a tensor map encodes.
///
/// The order of axes is the hardware's, innermost (contiguous) first. Element `i` of the tensor has
/// address `memory.address + i[0] * elementSize + sum over a > 0 of i[a] * byteStrides[a - 1]`.
/// Limits are those of cuTensorMapEncodeTiled; `violations()` checks them all without a driver.
public struct TensorMapDescription: Sendable, Hashable {
  /// Type of an element. Values are those of CUtensorMapDataType.
  public enum ElementType: UInt32, Sendable, Hashable, CaseIterable {
    case u8 = 0
    case u16, u32, s32, u64, s64, f16, f32, f64, bf16
    /// f32 with subnormal numbers read as 0.
    case f32FlushToZero
    /// f32 rounded to TF32 on the way.
    case tf32
    case tf32FlushToZero

    /// Bytes of an element.
    public var byteCount: Int {
      switch self {
      case .u8: 1
      case .u16, .f16, .bf16: 2
      case .u32, .s32, .f32, .f32FlushToZero, .tf32, .tf32FlushToZero: 4
      case .u64, .s64, .f64: 8
      }
    }

    var isFloat: Bool {
      switch self {
      case .u8, .u16, .u32, .s32, .u64, .s64: false
      default: true
      }
    }
  }

  /// How 16-byte chunks are permuted in shared memory. Values are those of CUtensorMapSwizzle.
  public enum Swizzle: UInt32, Sendable, Hashable, CaseIterable {
    case none = 0
    case bytes32, bytes64, bytes128

    /// Bytes of the permuted span; nil without swizzle.
    public var byteCount: Int? { self == .none ? nil : 16 << Int(rawValue) }
  }

  /// Layout with 16 or 32 bytes of channels innermost. Values are those of CUtensorMapInterleave.
  public enum Interleave: UInt32, Sendable, Hashable, CaseIterable {
    case none = 0
    case bytes16, bytes32
  }

  /// Bytes that a miss fetches into L2. Values are those of CUtensorMapL2promotion.
  public enum L2Promotion: UInt32, Sendable, Hashable, CaseIterable {
    case none = 0
    case bytes64, bytes128, bytes256
  }

  /// What elements outside the tensor read as. Values are those of CUtensorMapFloatOOBfill.
  public enum OutOfBoundsFill: UInt32, Sendable, Hashable, CaseIterable {
    case zero = 0
    /// A NaN that fused multiply-add instructions of the copy's consumer take as 0.
    case nan
  }

  /// Type of an element.
  public var elementType: ElementType
  /// The memory of the whole tensor.
  public var memory: DeviceView
  /// Elements along each axis, innermost first: 1 to 5 axes of 1 to 2^32 elements.
  public var dimensions: [Int]
  /// Bytes from one element to the next along each axis but the innermost.
  public var byteStrides: [Int]
  /// Elements of the box along each axis, 1 to 256.
  public var box: [Int]
  /// Step along each axis, 1 to 8; every element for 1.
  public var elementStrides: [Int]
  /// Layout of the innermost bytes.
  public var interleave: Interleave
  /// Permutation in shared memory.
  public var swizzle: Swizzle
  /// Bytes that a miss fetches into L2.
  public var l2Promotion: L2Promotion
  /// What elements outside the tensor read as.
  public var outOfBoundsFill: OutOfBoundsFill

  /// A tensor and its box; `elementStrides` nil is 1 along each axis.
  public init(
    _ elementType: ElementType, memory: DeviceView, dimensions: [Int], byteStrides: [Int],
    box: [Int], elementStrides: [Int]? = nil, interleave: Interleave = .none,
    swizzle: Swizzle = .none, l2Promotion: L2Promotion = .bytes256,
    outOfBoundsFill: OutOfBoundsFill = .zero
  ) {
    self.elementType = elementType
    self.memory = memory
    self.dimensions = dimensions
    self.byteStrides = byteStrides
    self.box = box
    self.elementStrides = elementStrides ?? [Int](repeating: 1, count: dimensions.count)
    self.interleave = interleave
    self.swizzle = swizzle
    self.l2Promotion = l2Promotion
    self.outOfBoundsFill = outOfBoundsFill
  }

  /// Bytes that one copy of the box writes to shared memory, for the transaction count of its
  /// barrier: the product over axes of ⌈box / elementStride⌉, times the element size.
  public var boxByteCount: Int {
    zip(box, elementStrides).reduce(elementType.byteCount) { product, axis in
      axis.1 > 0 && axis.0 > 0
        ? Dim3(product, (axis.0 + axis.1 - 1) / axis.1).count ?? .max : 0
    }
  }
}

extension TensorMapDescription {
  /// Every rule that the description breaks; empty for one that the driver may see.
  public func violations() -> [CUDAError.Violation] {
    var found = shapeViolations()
    // The other rules index the lists by axis.
    if found.isEmpty { found = sizeViolations() + layoutViolations() }
    return found
  }

  private func shapeViolations() -> [CUDAError.Violation] {
    let rank = dimensions.count
    var rules = Rules()
    rules.require((1...5).contains(rank), "dimensions must have 1 to 5 axes", "\(rank)")
    rules.require(
      byteStrides.count == max(0, rank - 1),
      "byteStrides must have one entry less than dimensions, \(max(0, rank - 1))",
      "\(byteStrides.count)")
    rules.require(
      box.count == rank, "box must have one entry per dimension, \(rank)", "\(box.count)")
    rules.require(
      elementStrides.count == rank, "elementStrides must have one entry per dimension, \(rank)",
      "\(elementStrides.count)")
    return rules.found
  }

  private func sizeViolations() -> [CUDAError.Violation] {
    var rules = Rules()
    let alignment = interleave == .bytes32 ? 32 : 16
    rules.require(
      memory.address % UInt64(alignment) == 0, "memory must start at a multiple of \(alignment)",
      "0x\(String(memory.address, radix: 16))")
    for (axis, dimension) in dimensions.enumerated() {
      rules.require(
        (1...(1 << 32)).contains(dimension), "dimensions[\(axis)] must be from 1 to 2^32",
        "\(dimension)")
    }
    for (index, stride) in byteStrides.enumerated() {
      rules.require(
        stride >= 0 && stride < 1 << 40 && stride % alignment == 0,
        "byteStrides[\(index)] must be a multiple of \(alignment) below 2^40", "\(stride)")
    }
    for (axis, size) in box.enumerated() {
      rules.require((1...256).contains(size), "box[\(axis)] must be from 1 to 256", "\(size)")
    }
    for (axis, step) in elementStrides.enumerated() {
      rules.require(
        (1...8).contains(step), "elementStrides[\(axis)] must be from 1 to 8", "\(step)")
    }
    if rules.found.isEmpty {
      rules.require(
        lastByteOffset.map { $0 <= memory.byteCount } ?? false,
        "the tensor must lie inside its memory of \(memory.byteCount) bytes",
        lastByteOffset.map { "a tensor of \($0) bytes" } ?? "a tensor beyond every address")
    }
    return rules.found
  }

  private func layoutViolations() -> [CUDAError.Violation] {
    var rules = Rules()
    let inner = Dim3(box[0], elementType.byteCount).count ?? .max
    if interleave == .none {
      rules.require(
        inner % 16 == 0, "box[0] times the element size must be a multiple of 16 bytes",
        "\(inner) bytes")
      if let span = swizzle.byteCount {
        rules.require(
          inner <= span,
          "box[0] times the element size must not exceed the swizzle's \(span) bytes",
          "\(inner) bytes")
      }
    } else {
      rules.require(
        dimensions.count >= 3, "an interleaved tensor must have 3 to 5 axes",
        "\(dimensions.count)")
    }
    rules.require(
      interleave != .bytes32 || swizzle == .bytes32,
      "interleave bytes32 must go with swizzle bytes32", "swizzle \(swizzle)")
    rules.require(
      outOfBoundsFill == .zero || elementType.isFloat,
      "outOfBoundsFill nan must go with a floating-point element type", "\(elementType)")
    return rules.found
  }

  /// Bytes from the tensor's first to the end of its last element; nil if that is no Int. Only for
  /// positive dimensions and strides that are not negative.
  private var lastByteOffset: Int? {
    var sum = 0
    let steps = [elementType.byteCount] + byteStrides
    for (dimension, step) in zip(dimensions, steps) {
      let (part, partOverflows) = (dimension - 1).multipliedReportingOverflow(by: step)
      let (next, sumOverflows) = sum.addingReportingOverflow(part)
      if partOverflows || sumOverflows { return nil }
      sum = next
    }
    let (end, overflows) = sum.addingReportingOverflow(elementType.byteCount)
    return overflows ? nil : end
  }

  /// Collects violations.
  private struct Rules {
    var found: [CUDAError.Violation] = []

    mutating func require(
      _ condition: Bool, _ requirement: @autoclosure () -> String,
      _ value: @autoclosure () -> String
    ) {
      if !condition { found.append(.init(requirement(), found: value())) }
    }
  }
}
