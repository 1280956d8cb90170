public import ApusCore
public import ApusNumerics

/// A dense row-major tensor that owns host memory, for programs without tensors of their own.
///
/// Operators take `view`; the memory lives as long as the tensor. Programs that have buffers wrap
/// them in `TensorView` instead.
///
/// `@unchecked Sendable`: the storage pointer never changes; concurrent writes through `view` follow
/// the rules of `TensorView`.
public final class Tensor: @unchecked Sendable {
  /// The whole tensor, for operators.
  ///
  /// - Important: A view does not keep its tensor alive: `Tensor(…).view` of a temporary is dangling
  ///   at once. Hold the tensor until the operator has returned, or pass tensors themselves to
  ///   `PlannedAttention.run`, which keeps them.
  public let view: TensorView
  private let storage: UnsafeMutableRawPointer

  /// Type of each scalar.
  public var scalarType: ScalarType { view.scalarType }
  /// Extents, outermost first.
  public var shape: [Int] { view.shape }
  /// Number of elements.
  public var count: Int { view.byteCount / scalarType.byteCount }
  /// Bytes of all elements.
  public var byteCount: Int { view.byteCount }

  /// A tensor of zeros of any scalar type: masks, indices, workspaces.
  ///
  /// - Throws: `ApusError.argument` for a negative extent or a size beyond 63 bits,
  ///   `.environment` when the memory is not to be had.
  public init(zeroScalars scalarType: ScalarType, shape: [Int]) throws(ApusError) {
    guard shape.allSatisfy({ $0 >= 0 }),
      let needed = TensorView(
        address: 64, byteCount: .max, scalarType: scalarType, shape: shape,
        strides: TensorView.denseStrides(shape)
      ).requiredByteCount
    else {
      throw .argument(
        ArgumentError(
          operation: "Tensor.init", "shape must be non-negative and fit 63 bits of bytes",
          found: "\(shape)"))
    }
    storage = try allocate(byteCount: needed, operation: "Tensor.init")
    storage.initializeMemory(as: UInt8.self, repeating: 0, count: needed)
    view = TensorView(
      UnsafeMutableRawBufferPointer(start: storage, count: needed), scalarType, shape: shape)
  }

  /// A tensor of zeros of an attention element type.
  public convenience init(zeros type: ElementType, shape: [Int]) throws(ApusError) {
    try self.init(zeroScalars: ScalarType(type), shape: shape)
  }

  /// Values rounded to nearest even, saturating in types narrower than f32.
  ///
  /// - Throws: `ApusError.argument` when the number of values is not the product of the shape.
  public convenience init(
    _ values: [Float], _ type: ElementType = .f32, shape: [Int]
  ) throws(ApusError) {
    try self.init(zeros: type, shape: shape)
    guard values.count == count else {
      throw .argument(
        ArgumentError(
          operation: "Tensor.init", "values must fill the shape \(shape)",
          found: "\(values.count) values for \(count) elements"))
    }
    let overflow: OverflowRule = type == .f32 ? .nonSaturating : .saturate
    for (index, value) in values.enumerated() {
      type.store(value, to: storage, at: index, overflow: overflow)
    }
  }

  deinit { storage.deallocate() }

  /// All elements of a floating tensor as f32, exactly; empty for index and byte tensors.
  public var values: [Float] {
    guard let type = view.elementType else { return [] }
    return (0..<count).map { type.load(UnsafeRawPointer(storage), at: $0) }
  }

  /// Read access to the bytes.
  public func withBytes<Result>(
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeRawBufferPointer(start: storage, count: byteCount))
  }

  /// Write access to the bytes.
  public func withMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeMutableRawBufferPointer(start: storage, count: byteCount))
  }

  /// The same values in another type, rounded to nearest even and saturating.
  public func converted(to type: ElementType) throws(ApusError) -> Tensor {
    try Tensor(values, type, shape: shape)
  }
}
