public import CApusDriver

/// An encoded tensor map: 128 bytes that a kernel takes as a parameter and hands to the bulk tensor
/// copy engine.
///
/// It holds an address, so the memory must outlive every launch that uses it. It belongs to no
/// handle: nothing is freed.
public struct TensorMap: Sendable, KernelArgument {
  /// The driver's words, opaque.
  public let bits: capus_tensor_map

  /// Kernels declare the parameter with `.align 64`; the driver's newer headers say 128.
  public static var parameterAlignment: Int { CAPUS_TENSOR_MAP_ALIGNMENT }

  /// Encodes a description. The corresponding driver function is cuTensorMapEncodeTiled.
  ///
  /// - Throws: `.argument` with every rule that the description breaks; `.call`.
  public init(_ description: TensorMapDescription, in context: Context) throws(CUDAError) {
    let operation = "TensorMap.init"
    var violations = description.violations()
    if !context.device.properties.supportsTensorMaps {
      violations.append(
        .init(
          "tensor maps need a device of compute capability 9.0 or newer",
          found: "\(context.device.properties.name), \(context.device.properties.capability)"))
    }
    if !violations.isEmpty { throw .argument(operation, violations) }
    let dimensions = description.dimensions.map(UInt64.init)
    // The array of a tensor of rank 1 is not read, and must not be empty for Swift to pass it.
    let strides = description.byteStrides.map(UInt64.init) + [0]
    let box = description.box.map(UInt32.init)
    let steps = description.elementStrides.map(UInt32.init)
    // A Swift value need not be aligned as the driver demands.
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: CAPUS_TENSOR_MAP_BYTES, alignment: CAPUS_TENSOR_MAP_ALIGNMENT)
    defer { memory.deallocate() }
    let map = memory.bindMemory(to: capus_tensor_map.self, capacity: 1)
    map.initialize(to: capus_tensor_map())
    try context.call("cuTensorMapEncodeTiled", operation) {
      $0.tensorMapEncodeTiled(
        map, description.elementType.rawValue, UInt32(dimensions.count),
        description.memory.address, dimensions, strides, box, steps,
        description.interleave.rawValue, description.swizzle.rawValue,
        description.l2Promotion.rawValue, description.outOfBoundsFill.rawValue)
    }
    bits = map.pointee
  }
}
