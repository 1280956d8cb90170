internal import Apus
internal import ApusNumerics
internal import CApus

extension apus_type {
  /// The element type; nil for the default.
  func elementType(_ name: String, _ operation: String) throws(ApusError) -> ElementType? {
    switch self {
    case APUS_TYPE_DEFAULT: return nil
    case APUS_F32: return .f32
    case APUS_F16: return .f16
    case APUS_BF16: return .bf16
    case APUS_E4M3: return .e4m3
    case APUS_E5M2: return .e5m2
    default:
      throw violation(
        operation, "\(name) must be one of apus_type, 0…5", found: "\(rawValue)")
    }
  }
}

/// Reads DLPack tensors of one call.
struct TensorReader {
  /// The operator, for errors.
  let operation: String

  /// DLPack's type codes.
  private enum Code {
    static let signed: UInt8 = 0
    static let unsigned: UInt8 = 1
    static let float: UInt8 = 2
    static let bfloat: UInt8 = 4
    static let bool: UInt8 = 6
    static let e4m3fn: UInt8 = 10
    static let e5m2: UInt8 = 12
  }

  /// More dimensions than any operand has.
  private static let greatestRank = 16

  /// A tensor that must be there. Integers of the type's width are taken for `type`.
  func view(
    _ pointer: UnsafePointer<DLTensor>?, _ name: String, as type: ScalarType? = nil
  ) throws(ApusError) -> TensorView {
    guard let view = try optionalView(pointer, name, as: type) else {
      throw violation(operation, "\(name) must be given", found: "a null pointer")
    }
    return view
  }

  /// A tensor that may be absent.
  func optionalView(
    _ pointer: UnsafePointer<DLTensor>?, _ name: String, as type: ScalarType? = nil
  ) throws(ApusError) -> TensorView? {
    guard let tensor = pointer?.pointee else { return nil }
    let rank = Int(tensor.ndim)
    guard (0...Self.greatestRank).contains(rank) else {
      throw violation(
        operation, "\(name) must have 0 to \(Self.greatestRank) dimensions", found: "\(rank)")
    }
    var shape: [Int] = []
    var strides: [Int] = []
    if rank > 0 {
      guard let extents = tensor.shape else {
        throw violation(operation, "\(name) must have a shape", found: "a null pointer")
      }
      shape = (0..<rank).map { Int(extents[$0]) }
      strides =
        tensor.strides.map { steps in (0..<rank).map { Int(steps[$0]) } }
        ?? TensorView.denseStrides(shape)
    }
    // A dimension of one element may carry any stride; none is ever taken.
    for axis in 0..<rank where shape[axis] == 1 && strides[axis] < 0 { strides[axis] = 1 }
    let scalar = try scalarType(tensor.dtype, name, expected: type)
    let address = try self.address(tensor, name, isEmpty: shape.contains(0))
    let unsized = TensorView(
      address: address, byteCount: 0, scalarType: scalar, shape: shape, strides: strides)
    guard let byteCount = unsized.requiredByteCount else {
      throw violation(
        operation, "\(name) must have a shape and strides that are not negative and fit 63 bits",
        found: "\(shape) with strides \(strides)")
    }
    return TensorView(
      address: address, byteCount: byteCount, scalarType: scalar, shape: shape, strides: strides,
      memory: try memory(tensor.device, name))
  }

  private func address(
    _ tensor: DLTensor, _ name: String, isEmpty: Bool
  ) throws(ApusError) -> UInt {
    let base = UInt(bitPattern: tensor.data)
    guard let offset = UInt(exactly: tensor.byte_offset) else {
      throw violation(
        operation, "byte_offset of \(name) must fit an address", found: "\(tensor.byte_offset)")
    }
    let (address, overflow) = base.addingReportingOverflow(offset)
    guard !overflow, isEmpty || base != 0 else {
      throw violation(
        operation, "\(name) must point to its elements",
        found: overflow ? "byte_offset \(tensor.byte_offset)" : "a null pointer")
    }
    return address
  }

  private func memory(_ device: DLDevice, _ name: String) throws(ApusError) -> MemorySpace {
    switch UInt32(bitPattern: Int32(device.device_type)) {
    case kDLCPU.rawValue, kDLCUDAHost.rawValue: return .host
    case kDLCUDA.rawValue, kDLCUDAManaged.rawValue:
      return .cuda(device: Int(device.device_id))
    default:
      throw violation(
        operation, "\(name) must live on a CPU or a CUDA device (DLPack 1, 2, 3, 13)",
        found: "device type \(device.device_type)")
    }
  }

  private func scalarType(
    _ type: DLDataType, _ name: String, expected: ScalarType?
  ) throws(ApusError) -> ScalarType {
    guard type.lanes == 1 else {
      throw violation(operation, "\(name) must have scalar elements", found: "\(type.lanes) lanes")
    }
    let isInteger = type.code == Code.unsigned || type.code == Code.signed
    if isInteger, let expected, expected.elementType != nil,
      Int(type.bits) == 8 * expected.byteCount, expected != .f32
    {
      return expected
    }
    switch (type.code, type.bits) {
    case (Code.float, 32): return .f32
    case (Code.float, 16): return .f16
    case (Code.bfloat, 16): return .bf16
    case (Code.e4m3fn, 8): return .e4m3
    case (Code.e5m2, 8): return .e5m2
    case (Code.unsigned, 8), (Code.bool, 8): return .u8
    case (Code.signed, 32): return .i32
    case (Code.signed, 64): return .i64
    default:
      throw violation(
        operation,
        "\(name) must have elements of f32, f16, bf16, e4m3fn, e5m2, u8, bool, i32 or i64",
        found: "DLPack type code \(type.code) with \(type.bits) bits")
    }
  }

  /// A list of integers.
  func integers(_ list: apus_int_list, _ name: String) throws(ApusError) -> [Int] {
    try elements(list, name) {
      Int($0)
    } wide: {
      Int($0)
    }
  }

  /// A list of integers of 32 bits; wider ones must fit.
  func integers32(_ list: apus_int_list, _ name: String) throws(ApusError) -> [Int32] {
    let values = try elements(list, name) {
      Optional($0)
    } wide: {
      Int32(exactly: $0)
    }
    if let index = values.firstIndex(of: nil) {
      throw violation(
        operation, "\(name) must hold integers of 32 bits", found: "a greater one at \(index)")
    }
    return values.compactMap { $0 }
  }

  private func elements<Element>(
    _ list: apus_int_list, _ name: String, narrow: (Int32) -> Element, wide: (Int64) -> Element
  ) throws(ApusError) -> [Element] {
    // Longer lists than this would be gigabytes of indices: a count that was never set.
    guard (0...(1 << 31)).contains(list.count) else {
      throw violation(operation, "\(name) must have a count in 0…2^31", found: "\(list.count)")
    }
    if list.count == 0 { return [] }
    guard let data = list.data else {
      throw violation(
        operation, "\(name) must point to its \(list.count) integers", found: "a null pointer")
    }
    let count = Int(list.count)
    switch list.width {
    case 4:
      return (0..<count).map {
        narrow(data.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self))
      }
    case 8:
      return (0..<count).map {
        wide(data.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self))
      }
    default:
      throw violation(
        operation, "\(name) must have a width of 4 or 8 bytes", found: "\(list.width)")
    }
  }
}

/// Where an operator runs.
func executionStream(_ stream: UnsafePointer<apus_stream>?) -> ExecutionStream {
  guard let stream else { return .synchronous }
  return .device(handle: UInt(bitPattern: stream.pointee.handle))
}
