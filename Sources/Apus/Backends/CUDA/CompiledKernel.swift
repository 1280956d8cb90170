package import ApusCUDA
internal import ApusCore
package import ApusIR
internal import ApusKernels

/// A kernel that is loaded and ready to launch.
package struct CompiledKernel: Sendable {
  /// The driver's function.
  package let function: Function
  /// Threads and cluster.
  package let bounds: LaunchBounds
  /// Dynamic shared bytes of a block.
  package let sharedByteCount: Int
  /// What each parameter is, to be checked against the values.
  package let parameters: [Parameter]
  /// Nanoseconds that printing and loading took.
  package let nanoseconds: UInt64

  /// Adds a launch with its arguments encoded to a sequence.
  ///
  /// - Returns: what is wrong with the launch's values, if something is.
  func add(
    _ launch: KernelLaunch, lists: UInt64, workspace: UInt64, to sequence: LaunchSequence,
    in context: Context
  ) throws(CUDAError) -> InternalError? {
    guard launch.values.count == parameters.count else {
      return mismatch("\(parameters.count) parameters must have values", "\(launch.values.count)")
    }
    var arguments = KernelArguments(byteCapacity: 512)
    for (value, parameter) in zip(launch.values, parameters) {
      switch (value.resolved(lists: lists, workspace: workspace), parameter.kind) {
      case (.u32(let number), .scalar(.u32)): arguments.append(number)
      case (.s32(let number), .scalar(.s32)): arguments.append(number)
      case (.u64(let number), .scalar(.u64)): arguments.append(number)
      case (.u64(let number), .scalar(.s64)): arguments.append(number)
      case (.f32(let number), .scalar(.f32)): arguments.append(number)
      case (.pointer(let address), .pointer(let alignment)):
        guard address.isMultiple(of: UInt64(max(alignment, 1))) else {
          return mismatch(
            "\(parameter.name) must be aligned to \(alignment) bytes",
            "0x\(String(address, radix: 16))")
        }
        arguments.append(address)
      case (.tensorMap(let layout), .tensorMap):
        arguments.append(try TensorMap(TensorMapDescription(layout), in: context))
      case (let value, let kind):
        return mismatch("\(parameter.name) must be a \(kind)", "\(value)")
      }
    }
    let isClustered = bounds.clusterSize > 1
    let configuration = LaunchConfiguration(
      grid: Dim3(launch.grid.x, launch.grid.y, launch.grid.z), block: Dim3(bounds.threads),
      dynamicSharedByteCount: sharedByteCount,
      cluster: isClustered ? Dim3(bounds.clusterSize) : nil,
      overlapsPredecessor: launch.overlapsPredecessor)
    try sequence.append(LaunchSequence.Launch(function, configuration, arguments))
    return nil
  }

  private func mismatch(
    _ requirement: String, _ found: String
  ) -> InternalError {
    InternalError(
      operation: "", detail: "kernel \(function.name): \(requirement); got \(found)")
  }
}

extension TensorMapDescription {
  /// The driver's description of a kernel author's.
  init(_ layout: TensorMapLayout) {
    let element: ElementType =
      switch layout.element {
      case .u8: .u8
      case .u16: .u16
      case .u32: .u32
      case .f16: .f16
      case .bf16: .bf16
      case .f32: .f32
      }
    let swizzle: Swizzle =
      switch layout.swizzle {
      case .none: .none
      case .bytes32: .bytes32
      case .bytes64: .bytes64
      case .bytes128: .bytes128
      }
    let promotion: L2Promotion =
      switch layout.l2PromotionByteCount {
      case 256...: .bytes256
      case 128...: .bytes128
      case 64...: .bytes64
      default: .none
      }
    // The author answers for the extent: its address comes from a validated tensor.
    self.init(
      element, memory: DeviceView(address: layout.address, byteCount: .max),
      dimensions: layout.sizes, byteStrides: layout.byteStrides, box: layout.box,
      swizzle: swizzle, l2Promotion: promotion)
  }
}
