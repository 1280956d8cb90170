public import CApusDriver

/// The driver functions that Apus calls, one entry each, replaceable as a whole by a fake.
///
/// `load(resolving:)` fills it from the real library; a fake assigns its own closures, so that call
/// sequences and injected errors are testable without a GPU. Every entry returns the driver's
/// status; an entry that nobody assigned returns 3 (CUDA_ERROR_NOT_INITIALIZED). Arguments are
/// those of the driver function that the comment names.
public struct DriverTable: Sendable {
  /// A status: 0 is success.
  public typealias Status = capus_result
  /// A place that the driver fills with an integer.
  public typealias Out<Value> = UnsafeMutablePointer<Value>
  /// A place that the driver fills with a pointer to static text.
  public typealias OutText = UnsafeMutablePointer<UnsafePointer<CChar>?>
  /// An array of addresses of values.
  public typealias AddressArray = UnsafeMutablePointer<UnsafeMutableRawPointer?>

  /// A table whose entries all return 3.
  public init() {}

  static var unassigned: Status { Status(CAPUS_ERROR_NOT_INITIALIZED) }

  // MARK: - Initialisation, versions, errors

  /// cuInit.
  public var initialize: @Sendable (UInt32) -> Status = { _ in unassigned }
  /// cuDriverGetVersion.
  public var driverGetVersion: @Sendable (Out<Int32>) -> Status = { _ in unassigned }
  /// cuGetErrorName.
  public var getErrorName: @Sendable (Status, OutText) -> Status = { _, _ in unassigned }
  /// cuGetErrorString.
  public var getErrorString: @Sendable (Status, OutText) -> Status = { _, _ in unassigned }

  // MARK: - Devices

  /// cuDeviceGetCount.
  public var deviceGetCount: @Sendable (Out<Int32>) -> Status = { _ in unassigned }
  /// cuDeviceGet.
  public var deviceGet: @Sendable (Out<Int32>, Int32) -> Status = { _, _ in unassigned }
  /// cuDeviceGetName.
  public var deviceGetName: @Sendable (Out<CChar>, Int32, Int32) -> Status = { _, _, _ in
    unassigned
  }
  /// cuDeviceTotalMem.
  public var deviceTotalMem: @Sendable (Out<Int>, Int32) -> Status = { _, _ in unassigned }
  /// cuDeviceGetAttribute.
  public var deviceGetAttribute: @Sendable (Out<Int32>, Int32, Int32) -> Status = { _, _, _ in
    unassigned
  }
  /// cuDeviceGetPCIBusId.
  public var deviceGetPCIBusID: @Sendable (Out<CChar>, Int32, Int32) -> Status = { _, _, _ in
    unassigned
  }
  /// cuDeviceCanAccessPeer.
  public var deviceCanAccessPeer: @Sendable (Out<Int32>, Int32, Int32) -> Status = { _, _, _ in
    unassigned
  }

  // MARK: - Contexts

  /// cuDevicePrimaryCtxRetain.
  public var primaryCtxRetain: @Sendable (Out<UInt>, Int32) -> Status = { _, _ in unassigned }
  /// cuDevicePrimaryCtxRelease.
  public var primaryCtxRelease: @Sendable (Int32) -> Status = { _ in unassigned }
  /// cuDevicePrimaryCtxGetState.
  public var primaryCtxGetState: @Sendable (Int32, Out<UInt32>, Out<Int32>) -> Status = {
    _, _, _ in unassigned
  }
  /// cuCtxGetCurrent.
  public var ctxGetCurrent: @Sendable (Out<UInt>) -> Status = { _ in unassigned }
  /// cuCtxPushCurrent.
  public var ctxPushCurrent: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuCtxPopCurrent.
  public var ctxPopCurrent: @Sendable (Out<UInt>) -> Status = { _ in unassigned }
  /// cuCtxGetDevice.
  public var ctxGetDevice: @Sendable (Out<Int32>) -> Status = { _ in unassigned }
  /// cuCtxSynchronize.
  public var ctxSynchronize: @Sendable () -> Status = { unassigned }
  /// cuCtxGetStreamPriorityRange.
  public var ctxGetStreamPriorityRange: @Sendable (Out<Int32>, Out<Int32>) -> Status = { _, _ in
    unassigned
  }
  /// cuCtxEnablePeerAccess.
  public var ctxEnablePeerAccess: @Sendable (UInt, UInt32) -> Status = { _, _ in unassigned }

  // MARK: - Streams

  /// cuStreamCreateWithPriority.
  public var streamCreate: @Sendable (Out<UInt>, UInt32, Int32) -> Status = { _, _, _ in
    unassigned
  }
  /// cuStreamDestroy.
  public var streamDestroy: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuStreamSynchronize.
  public var streamSynchronize: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuStreamQuery.
  public var streamQuery: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuStreamWaitEvent.
  public var streamWaitEvent: @Sendable (UInt, UInt, UInt32) -> Status = { _, _, _ in unassigned }
  /// cuStreamGetPriority.
  public var streamGetPriority: @Sendable (UInt, Out<Int32>) -> Status = { _, _ in unassigned }
  /// cuStreamGetCtx.
  public var streamGetCtx: @Sendable (UInt, Out<UInt>) -> Status = { _, _ in unassigned }
  /// cuStreamIsCapturing.
  public var streamIsCapturing: @Sendable (UInt, Out<Int32>) -> Status = { _, _ in unassigned }
  /// cuStreamBeginCapture.
  public var streamBeginCapture: @Sendable (UInt, Int32) -> Status = { _, _ in unassigned }
  /// cuStreamEndCapture.
  public var streamEndCapture: @Sendable (UInt, Out<UInt>) -> Status = { _, _ in unassigned }
  /// cuStreamGetCaptureInfo of CUDA 11.3: stream, status, identifier, graph, dependencies, their
  /// number.
  public var streamGetCaptureInfo:
    @Sendable (
      UInt, Out<Int32>, Out<UInt64>?, Out<UInt>?, UnsafeMutablePointer<UnsafePointer<UInt>?>?,
      Out<Int>?
    ) -> Status = { _, _, _, _, _, _ in unassigned }
  /// cuThreadExchangeStreamCaptureMode.
  public var threadExchangeCaptureMode: @Sendable (Out<Int32>) -> Status = { _ in unassigned }

  // MARK: - Events

  /// cuEventCreate.
  public var eventCreate: @Sendable (Out<UInt>, UInt32) -> Status = { _, _ in unassigned }
  /// cuEventDestroy.
  public var eventDestroy: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuEventRecord.
  public var eventRecord: @Sendable (UInt, UInt) -> Status = { _, _ in unassigned }
  /// cuEventSynchronize.
  public var eventSynchronize: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuEventQuery.
  public var eventQuery: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuEventElapsedTime.
  public var eventElapsedTime: @Sendable (Out<Float>, UInt, UInt) -> Status = { _, _, _ in
    unassigned
  }

  // MARK: - Memory

  /// cuMemGetInfo.
  public var memGetInfo: @Sendable (Out<Int>, Out<Int>) -> Status = { _, _ in unassigned }
  /// cuMemAlloc.
  public var memAlloc: @Sendable (Out<UInt64>, Int) -> Status = { _, _ in unassigned }
  /// cuMemFree.
  public var memFree: @Sendable (UInt64) -> Status = { _ in unassigned }
  /// cuMemAllocAsync.
  public var memAllocAsync: @Sendable (Out<UInt64>, Int, UInt) -> Status = { _, _, _ in
    unassigned
  }
  /// cuMemFreeAsync.
  public var memFreeAsync: @Sendable (UInt64, UInt) -> Status = { _, _ in unassigned }
  /// cuMemHostAlloc.
  public var memHostAlloc: @Sendable (AddressArray, Int, UInt32) -> Status = { _, _, _ in
    unassigned
  }
  /// cuMemFreeHost.
  public var memFreeHost: @Sendable (UnsafeMutableRawPointer) -> Status = { _ in unassigned }
  /// cuMemcpyHtoD.
  public var memcpyHtoD: @Sendable (UInt64, UnsafeRawPointer, Int) -> Status = { _, _, _ in
    unassigned
  }
  /// cuMemcpyDtoH.
  public var memcpyDtoH: @Sendable (UnsafeMutableRawPointer, UInt64, Int) -> Status = { _, _, _ in
    unassigned
  }
  /// cuMemcpyHtoDAsync.
  public var memcpyHtoDAsync: @Sendable (UInt64, UnsafeRawPointer, Int, UInt) -> Status = {
    _, _, _, _ in unassigned
  }
  /// cuMemcpyDtoHAsync.
  public var memcpyDtoHAsync: @Sendable (UnsafeMutableRawPointer, UInt64, Int, UInt) -> Status = {
    _, _, _, _ in unassigned
  }
  /// cuMemcpyDtoDAsync.
  public var memcpyDtoDAsync: @Sendable (UInt64, UInt64, Int, UInt) -> Status = { _, _, _, _ in
    unassigned
  }
  /// cuMemcpyPeerAsync.
  public var memcpyPeerAsync: @Sendable (UInt64, UInt, UInt64, UInt, Int, UInt) -> Status = {
    _, _, _, _, _, _ in unassigned
  }
  /// cuMemsetD8Async.
  public var memsetD8Async: @Sendable (UInt64, UInt8, Int, UInt) -> Status = { _, _, _, _ in
    unassigned
  }
  /// cuMemsetD32Async.
  public var memsetD32Async: @Sendable (UInt64, UInt32, Int, UInt) -> Status = { _, _, _, _ in
    unassigned
  }

  // MARK: - Modules and functions

  /// cuModuleLoadDataEx.
  public var moduleLoadDataEx:
    @Sendable (Out<UInt>, UnsafeRawPointer, UInt32, UnsafePointer<Int32>, AddressArray) -> Status =
      { _, _, _, _, _ in unassigned }
  /// cuModuleUnload.
  public var moduleUnload: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuModuleGetFunction.
  public var moduleGetFunction: @Sendable (Out<UInt>, UInt, UnsafePointer<CChar>) -> Status = {
    _, _, _ in unassigned
  }
  /// cuModuleGetGlobal.
  public var moduleGetGlobal:
    @Sendable (Out<UInt64>, Out<Int>, UInt, UnsafePointer<CChar>) -> Status = { _, _, _, _ in
      unassigned
    }
  /// cuFuncGetAttribute.
  public var funcGetAttribute: @Sendable (Out<Int32>, Int32, UInt) -> Status = { _, _, _ in
    unassigned
  }
  /// cuFuncSetAttribute.
  public var funcSetAttribute: @Sendable (UInt, Int32, Int32) -> Status = { _, _, _ in unassigned }
  /// cuFuncLoad; nil before CUDA 12.4.
  public var funcLoad: (@Sendable (UInt) -> Status)?

  // MARK: - Launches and occupancy

  /// cuLaunchKernelEx.
  public var launchKernelEx:
    @Sendable (UnsafePointer<capus_launch_config>, UInt, AddressArray?, AddressArray?) -> Status = {
      _, _, _, _ in unassigned
    }
  /// cuOccupancyMaxActiveBlocksPerMultiprocessor.
  public var occupancyMaxActiveBlocks: @Sendable (Out<Int32>, UInt, Int32, Int) -> Status = {
    _, _, _, _ in unassigned
  }
  /// cuOccupancyMaxActiveClusters.
  public var occupancyMaxActiveClusters:
    @Sendable (Out<Int32>, UInt, UnsafePointer<capus_launch_config>) -> Status = { _, _, _ in
      unassigned
    }

  // MARK: - Tensor maps

  /// cuTensorMapEncodeTiled: map, data type, rank, address, dimensions, byte strides, box, element
  /// strides, interleave, swizzle, L2 promotion, out-of-bounds fill.
  public var tensorMapEncodeTiled:
    @Sendable (
      Out<capus_tensor_map>, UInt32, UInt32, UInt64, UnsafePointer<UInt64>, UnsafePointer<UInt64>,
      UnsafePointer<UInt32>, UnsafePointer<UInt32>, UInt32, UInt32, UInt32, UInt32
    ) -> Status = { _, _, _, _, _, _, _, _, _, _, _, _ in unassigned }

  // MARK: - Graphs

  /// cuGraphInstantiateWithFlags.
  public var graphInstantiate: @Sendable (Out<UInt>, UInt, UInt64) -> Status = { _, _, _ in
    unassigned
  }
  /// cuGraphLaunch.
  public var graphLaunch: @Sendable (UInt, UInt) -> Status = { _, _ in unassigned }
  /// cuGraphUpload.
  public var graphUpload: @Sendable (UInt, UInt) -> Status = { _, _ in unassigned }
  /// cuGraphExecUpdate.
  public var graphExecUpdate: @Sendable (UInt, UInt, Out<capus_graph_update_info>) -> Status = {
    _, _, _ in unassigned
  }
  /// cuGraphGetNodes.
  public var graphGetNodes: @Sendable (UInt, Out<UInt>?, Out<Int>) -> Status = { _, _, _ in
    unassigned
  }
  /// cuUserObjectCreate: object, value, destructor, references, flags.
  public var userObjectCreate:
    @Sendable (
      Out<UInt>, UnsafeMutableRawPointer, @escaping capus_destructor, UInt32, UInt32
    ) -> Status = { _, _, _, _, _ in unassigned }
  /// cuUserObjectRelease.
  public var userObjectRelease: @Sendable (UInt, UInt32) -> Status = { _, _ in unassigned }
  /// cuGraphRetainUserObject: graph, object, references, flags.
  public var graphRetainUserObject: @Sendable (UInt, UInt, UInt32, UInt32) -> Status = {
    _, _, _, _ in unassigned
  }
  /// cuGraphDestroy.
  public var graphDestroy: @Sendable (UInt) -> Status = { _ in unassigned }
  /// cuGraphExecDestroy.
  public var graphExecDestroy: @Sendable (UInt) -> Status = { _ in unassigned }
}
