public import ApusIR

/// What the host encodes into a tensor map (CUDA driver API, `cuTensorMapEncodeTiled`).
public struct TensorMapDescription: Sendable, Hashable {
  /// What the elements are; matters for stores with a reduction alone.
  public enum Element: Sendable, Hashable {
    /// Unsigned integers, or any patterns.
    case unsigned
    /// binary16.
    case f16
    /// bfloat16.
    case bf16
    /// binary32.
    case f32
  }

  /// Address of element 0.
  public var address: UInt64
  /// Element size in bytes: 1, 2, 4 or 8.
  public var elementByteCount: Int
  /// What the elements are.
  public var element: Element
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
    swizzle: Swizzle = .none, element: Element = .unsigned
  ) {
    self.address = address
    self.elementByteCount = elementByteCount
    self.element = element
    self.sizes = sizes
    self.strides = strides
    self.box = box
    self.swizzle = swizzle
  }
}

extension TensorMapDescription.Element {
  /// Whether `cp.reduce.async.bulk.tensor` combines such elements: 4 or 8 bytes as integers (8 for
  /// all but `min` and `max` of signed ones), `add` of binary32, and `add`, `min` and `max` of the
  /// 16-bit types (PTX § cp.reduce.async.bulk.tensor).
  func allows(_ op: Op.ReductionOp, byteCount: Int) -> Bool {
    switch self {
    case .unsigned: byteCount >= 4
    case .f32: byteCount == 4 && op == .add
    case .f16, .bf16: byteCount == 2 && (op == .add || op == .min || op == .max)
    }
  }

  /// Old content and operand combined.
  func combine(_ old: UInt64, _ x: UInt64, _ op: Op.ReductionOp) -> UInt64 {
    switch self {
    case .unsigned:
      switch op {
      case .add: return old &+ x
      case .min: return min(old, x)
      case .max: return max(old, x)
      case .and: return old & x
      case .or: return old | x
      case .xor: return old ^ x
      }
    case .f32:
      let a = Float(bitPattern: UInt32(truncatingIfNeeded: old))
      let b = Float(bitPattern: UInt32(truncatingIfNeeded: x))
      return UInt64(FloatMath.flush(FloatMath.flush(a) + FloatMath.flush(b)).bitPattern)
    case .f16, .bf16:
      let type: ValueType = self == .f16 ? .f16 : .bf16
      let a = FloatMath.widen(UInt32(truncatingIfNeeded: old), type)
      let b = FloatMath.widen(UInt32(truncatingIfNeeded: x), type)
      let result =
        op == .add
        ? FloatMath.oddSum(Double(a), Double(b))
        : Double(FloatMath.extremum(a, b, isMax: op == .max, propagatesNaN: false))
      return UInt64(FloatMath.narrow(result, type))
    }
  }
}
