public import ApusNumerics

/// Where a tensor's bytes live.
public enum MemorySpace: Sendable, Hashable, CustomStringConvertible {
  /// Memory of this process.
  case host
  /// Memory of the CUDA device with this ordinal.
  case cuda(device: Int)

  /// `host` or `cuda:0`.
  public var description: String {
    switch self {
    case .host: "host"
    case .cuda(let device): "cuda:\(device)"
    }
  }
}

/// A borrowed, strided tensor: address, extent, type, shape and strides. It never owns memory.
///
/// The caller guarantees that `byteCount` bytes from `address` stay valid (and, for outputs,
/// exclusively writable) until the operation that uses the view has finished. Everything else is
/// checked: no operator touches a byte outside `address ..< address + byteCount`.
/// Element `(i0, i1, …)` is at `address + (i0·strides[0] + i1·strides[1] + …) · scalar bytes`.
public struct TensorView: Sendable, Hashable {
  /// First byte, in the address space of `memory`. May be 0 only when the tensor is empty.
  public let address: UInt
  /// Bytes that may be accessed from `address`.
  public let byteCount: Int
  /// Type of each element.
  public let scalarType: ScalarType
  /// Extents, outermost first.
  public let shape: [Int]
  /// Distance in elements between neighbours along each dimension; never negative.
  public let strides: [Int]
  /// Where the bytes are.
  public let memory: MemorySpace

  /// A view with explicit strides in elements.
  public init(
    address: UInt, byteCount: Int, scalarType: ScalarType, shape: [Int], strides: [Int],
    memory: MemorySpace = .host
  ) {
    self.address = address
    self.byteCount = byteCount
    self.scalarType = scalarType
    self.shape = shape
    self.strides = strides
    self.memory = memory
  }

  /// A dense row-major view of `bytes`.
  public init(_ bytes: UnsafeMutableRawBufferPointer, _ scalarType: ScalarType, shape: [Int]) {
    self.init(
      address: UInt(bitPattern: bytes.baseAddress), byteCount: bytes.count,
      scalarType: scalarType, shape: shape, strides: Self.denseStrides(shape))
  }

  /// A dense row-major view of read-only `bytes`. Passing it as an output is the caller's error
  /// that nothing can check.
  public init(reading bytes: UnsafeRawBufferPointer, _ scalarType: ScalarType, shape: [Int]) {
    self.init(
      address: UInt(bitPattern: bytes.baseAddress), byteCount: bytes.count,
      scalarType: scalarType, shape: shape, strides: Self.denseStrides(shape))
  }

  /// Row-major strides of a dense tensor; a product that overflows becomes `Int.max`, which
  /// validation refuses.
  public static func denseStrides(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    var running = 1
    for index in shape.indices.reversed() {
      strides[index] = running
      let (product, overflow) = running.multipliedReportingOverflow(by: max(shape[index], 1))
      running = overflow ? Int.max : product
    }
    return strides
  }

  /// The attention element type, or nil for index and byte tensors.
  public var elementType: ElementType? { scalarType.elementType }

  /// Number of elements; nil when the product overflows or an extent is negative.
  public var elementCount: Int? {
    guard shape.allSatisfy({ $0 >= 0 }) else { return nil }
    if shape.contains(0) { return 0 }
    var count = 1
    for extent in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      if overflow { return nil }
      count = product
    }
    return count
  }

  /// Bytes from `address` to the end of the last element; nil on overflow or negative values.
  public var requiredByteCount: Int? {
    guard shape.count == strides.count, shape.allSatisfy({ $0 >= 0 }) else { return nil }
    if shape.contains(0) { return 0 }
    var last = 0
    for (extent, stride) in zip(shape, strides) {
      guard stride >= 0 else { return nil }
      let (distance, overflow) = (extent - 1).multipliedReportingOverflow(by: stride)
      if overflow { return nil }
      let (sum, overflow2) = last.addingReportingOverflow(distance)
      if overflow2 { return nil }
      last = sum
    }
    let (elements, overflow) = last.addingReportingOverflow(1)
    if overflow { return nil }
    let (bytes, overflow2) = elements.multipliedReportingOverflow(by: scalarType.byteCount)
    return overflow2 ? nil : bytes
  }

  /// Whether every stride in bytes, the size and the reach with extents of 0 counted as 1 fit 63
  /// bits. An empty tensor then bounds address arithmetic as well as a full one.
  var hasBoundedLayout: Bool {
    var size = scalarType.byteCount
    var reach = scalarType.byteCount
    for (extent, stride) in zip(shape, strides) {
      let (step, overflow) = stride.multipliedReportingOverflow(by: scalarType.byteCount)
      let (product, overflow2) = size.multipliedReportingOverflow(by: Swift.max(extent, 1))
      // Rows of width 0 have addresses too: their offsets are computed before nothing is read.
      let (distance, overflow3) = step.multipliedReportingOverflow(by: Swift.max(extent, 1) - 1)
      let (sum, overflow4) = reach.addingReportingOverflow(distance)
      if overflow || overflow2 || overflow3 || overflow4 { return false }
      (size, reach) = (product, sum)
    }
    return true
  }

  /// False only when every index has an element of its own. Sorted by stride, each stride must
  /// exceed the reach of all smaller ones; that holds for every slice and permutation of a dense
  /// tensor. Meaningful where `requiredByteCount` is not nil.
  var mayOverlap: Bool {
    if shape.contains(0) { return false }
    var reach = 0
    for (extent, stride) in zip(shape, strides).filter({ $0.0 > 1 }).sorted(by: { $0.1 < $1.1 }) {
      if stride <= reach { return true }
      reach += (extent - 1) * stride
    }
    return false
  }

  /// Read-only base pointer; nil for an empty tensor at address 0 or a device tensor.
  public var hostPointer: UnsafeRawPointer? {
    guard memory == .host else { return nil }
    return UnsafeRawPointer(bitPattern: address)
  }

  /// Element `index` of a validated one-dimensional f32 host tensor (a value per head); nil for one
  /// that is empty or elsewhere.
  package func hostFloat(at index: Int) -> Float? {
    hostPointer?.loadUnaligned(fromByteOffset: index * strides[0] * 4, as: Float.self)
  }

  /// Writable base pointer; nil for an empty tensor at address 0 or a device tensor.
  public var mutableHostPointer: UnsafeMutableRawPointer? {
    guard memory == .host else { return nil }
    return UnsafeMutableRawPointer(bitPattern: address)
  }

  /// Offset in elements of an index; the caller has validated the view and the index.
  public func offset(_ index: [Int]) -> Int {
    var offset = 0
    for (i, stride) in zip(index, strides) { offset += i * stride }
    return offset
  }

  /// The sub-view at `index` along dimension `axis`, which disappears.
  ///
  /// - Precondition: the view is valid and the index in range.
  public func selecting(_ index: Int, axis: Int) -> TensorView {
    var shape = shape
    var strides = strides
    // Without elements nothing bounds the stride: the product could overflow.
    let skip = shape.contains(0) ? 0 : strides[axis] * index * scalarType.byteCount
    shape.remove(at: axis)
    strides.remove(at: axis)
    return TensorView(
      address: address &+ UInt(bitPattern: skip), byteCount: Swift.max(byteCount - skip, 0),
      scalarType: scalarType, shape: shape, strides: strides, memory: memory)
  }

  /// The same elements with dimensions reordered: dimension `i` of the result is `order[i]` here.
  ///
  /// - Precondition: `shape` and `strides` are equally long, and `order` names their dimensions.
  public func permuted(_ order: [Int]) -> TensorView {
    TensorView(
      address: address, byteCount: byteCount, scalarType: scalarType,
      shape: order.map { shape[$0] }, strides: order.map { strides[$0] }, memory: memory)
  }
}

extension TensorView: CustomStringConvertible {
  /// One line: `bf16[16, 32, 128] host`, with strides when the tensor is not dense.
  public var description: String {
    let base = "\(scalarType)\(shape)"
    let layout = strides == Self.denseStrides(shape) ? "" : " strides \(strides)"
    return "\(base)\(layout) \(memory)"
  }
}

extension Validator {
  /// Checks one tensor argument: scalar type, shape, contiguity of the innermost dimension, that
  /// the strided extent fits the buffer, and alignment to the scalar.
  ///
  /// - Parameters:
  ///   - shape: the exact extents; nil entries accept any non-negative extent.
  ///   - isOutput: refuses overlapping elements (written twice).
  @discardableResult
  public mutating func requireTensor(
    _ name: String, _ view: TensorView, _ allowed: [ScalarType], shape expected: [Int?],
    isOutput: Bool = false, innermostContiguous: Bool = true
  ) -> Bool {
    let before = violations.count
    require(
      allowed.contains(view.scalarType),
      "\(name) must have type \(allowed.map(\.description).joined(separator: ", "))",
      found: "\(view.scalarType)")
    let shapeMatches =
      view.shape.count == expected.count
      && zip(view.shape, expected).allSatisfy { extent, want in
        extent >= 0 && (want == nil || want == extent)
      }
    require(
      shapeMatches,
      "\(name) must have shape "
        + "[\(expected.map { $0.map(String.init) ?? "any" }.joined(separator: ", "))]",
      found: "\(view.shape)")
    guard
      require(
        view.strides.count == view.shape.count && view.strides.allSatisfy { $0 >= 0 },
        "\(name) must have one non-negative stride per dimension", found: "\(view.strides)")
    else { return false }
    if innermostContiguous, let extent = view.shape.last, let stride = view.strides.last {
      require(
        extent <= 1 || stride == 1, "\(name) must be contiguous in its last dimension",
        found: "stride \(stride)", remedy: "Copy it to a contiguous tensor first.")
    }
    if let needed = view.requiredByteCount, view.hasBoundedLayout {
      require(
        !isOutput || !view.mayOverlap, "\(name) is written and its elements must not overlap",
        found: "shape \(view.shape), strides \(view.strides)")
      require(
        needed <= view.byteCount, "\(name) must fit its buffer",
        found: "\(needed) bytes needed of \(view.byteCount)")
      require(
        needed == 0 || view.address != 0, "\(name) must have an address", found: "null")
      require(
        view.address % UInt(view.scalarType.byteCount) == 0,
        "\(name) must be aligned to its scalar (\(view.scalarType.byteCount) bytes)",
        found: "address ending in \(view.address % 16)")
      require(
        needed == 0 || view.address.addingReportingOverflow(UInt(needed)).overflow == false,
        "\(name) must lie inside the address space",
        found: "\(needed) bytes from address \(view.address)")
    } else {
      require(
        false, "\(name) must have a size that fits 63 bits",
        found: "shape \(view.shape), strides \(view.strides)")
    }
    return violations.count == before
  }
}
