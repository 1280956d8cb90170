public import ApusCore
public import ApusNumerics

/// Reads and writes single elements of a host tensor by their index.
///
/// - Precondition: the view has been validated and lies in host memory. An index outside the shape
///   stops the process: it is a defect of the caller, never of the data.
public struct HostTensor {
  /// The tensor.
  public let view: TensorView

  /// Wraps a validated host view.
  public init(_ view: TensorView) {
    self.view = view
  }

  /// Extents, outermost first.
  public var shape: [Int] { view.shape }

  /// The element at `index`, exactly.
  public func value(_ index: [Int]) -> Double { Double(float(index)) }

  /// The element at `index` as f32, exactly: every element type is a subset of f32.
  public func float(_ index: [Int]) -> Float {
    elementType.load(base, at: offset(index))
  }

  /// The elements at `outer`, all of the innermost dimension.
  public func row(_ outer: [Int]) -> [Float] {
    let width = shape.last ?? 0
    guard width > 0 else { return [] }
    let type = elementType
    let first = offset(outer + [0])
    let stride = view.strides[shape.count - 1]
    return (0..<width).map { type.load(base, at: first + $0 * stride) }
  }

  /// All elements in row-major order, whatever the strides are.
  public var values: [Double] {
    guard !shape.contains(0) else { return [] }
    var result: [Double] = []
    var index = [Int](repeating: 0, count: shape.count)
    while true {
      result.append(value(index))
      var axis = shape.count - 1
      while axis >= 0, index[axis] + 1 == shape[axis] {
        index[axis] = 0
        axis -= 1
      }
      guard axis >= 0 else { return result }
      index[axis] += 1
    }
  }

  /// Rounds `value` to nearest even and writes it at `index`.
  public func store(_ value: Float, at index: [Int], overflow: OverflowRule = .saturate) {
    elementType.store(value, to: mutableBase, at: offset(index), overflow: overflow)
  }

  /// Copies the bits of an element of the same type.
  public func copy(from source: HostTensor, at sourceIndex: [Int], to index: [Int]) {
    precondition(source.view.scalarType == view.scalarType, "HostTensor: types must be equal")
    let size = view.scalarType.byteCount
    mutableBase.advanced(by: offset(index) * size).copyMemory(
      from: source.base.advanced(by: source.offset(sourceIndex) * size), byteCount: size)
  }

  /// The byte at `index` of a u8 tensor.
  public func byte(_ index: [Int]) -> UInt8 {
    precondition(view.scalarType == .u8, "HostTensor: the type must be u8")
    return base.load(fromByteOffset: offset(index), as: UInt8.self)
  }

  private var elementType: ElementType {
    guard let type = view.elementType else {
      preconditionFailure("HostTensor: \(view.scalarType) is not an element type")
    }
    return type
  }

  private var base: UnsafeRawPointer {
    guard let pointer = view.hostPointer else {
      preconditionFailure("HostTensor: \(view) has no host address")
    }
    return pointer
  }

  private var mutableBase: UnsafeMutableRawPointer {
    guard let pointer = view.mutableHostPointer else {
      preconditionFailure("HostTensor: \(view) has no host address")
    }
    return pointer
  }

  private func offset(_ index: [Int]) -> Int {
    precondition(index.count == shape.count, "HostTensor: \(index) does not index \(view)")
    var offset = 0
    for axis in index.indices {
      precondition(
        (0..<shape[axis]).contains(index[axis]), "HostTensor: \(index) lies outside \(view)")
      offset += index[axis] * view.strides[axis]
    }
    return offset
  }
}
