internal import CApusDriver

extension DriverTable {
  /// Finds the address of a driver function in the form of the CUDA version `since`
  /// (1000 * major + 10 * minor); nil when the driver has none.
  public typealias Resolver = (_ name: String, _ since: Int) -> UnsafeMutableRawPointer?

  /// A table of the functions that `resolver` finds.
  ///
  /// - Throws: `.functionMissing` for the first required function that is not found.
  public static func load(resolving resolver: Resolver) throws(CUDAError) -> DriverTable {
    // Each address is cast to the C type that the header declares under the same name.
    func find<Function>(
      _ name: String, _ since: Int, _ type: Function.Type
    ) throws(CUDAError) -> Function {
      guard let address = resolver(name, since) else {
        throw CUDAError(
          kind: .functionMissing(since: DriverVersion(encoded: since)), operation: "Driver.load",
          function: name)
      }
      return unsafeBitCast(address, to: type)
    }
    var table = DriverTable()
    table.initialize = try find("cuInit", capus_cuInit_since, capus_cuInit.self)
    table.driverGetVersion = try find(
      "cuDriverGetVersion", capus_cuDriverGetVersion_since, capus_cuDriverGetVersion.self)
    table.getErrorName = try find(
      "cuGetErrorName", capus_cuGetErrorName_since, capus_cuGetErrorName.self)
    table.getErrorString = try find(
      "cuGetErrorString", capus_cuGetErrorString_since, capus_cuGetErrorString.self)
    table.deviceGetCount = try find(
      "cuDeviceGetCount", capus_cuDeviceGetCount_since, capus_cuDeviceGetCount.self)
    table.deviceGet = try find("cuDeviceGet", capus_cuDeviceGet_since, capus_cuDeviceGet.self)
    table.deviceGetName = try find(
      "cuDeviceGetName", capus_cuDeviceGetName_since, capus_cuDeviceGetName.self)
    table.deviceTotalMem = try find(
      "cuDeviceTotalMem", capus_cuDeviceTotalMem_since, capus_cuDeviceTotalMem.self)
    table.deviceGetAttribute = try find(
      "cuDeviceGetAttribute", capus_cuDeviceGetAttribute_since, capus_cuDeviceGetAttribute.self)
    table.deviceGetPCIBusID = try find(
      "cuDeviceGetPCIBusId", capus_cuDeviceGetPCIBusId_since, capus_cuDeviceGetPCIBusId.self)
    table.deviceCanAccessPeer = try find(
      "cuDeviceCanAccessPeer", capus_cuDeviceCanAccessPeer_since, capus_cuDeviceCanAccessPeer.self)
    table.primaryCtxRetain = try find(
      "cuDevicePrimaryCtxRetain", capus_cuDevicePrimaryCtxRetain_since,
      capus_cuDevicePrimaryCtxRetain.self)
    table.primaryCtxRelease = try find(
      "cuDevicePrimaryCtxRelease", capus_cuDevicePrimaryCtxRelease_since,
      capus_cuDevicePrimaryCtxRelease.self)
    table.primaryCtxGetState = try find(
      "cuDevicePrimaryCtxGetState", capus_cuDevicePrimaryCtxGetState_since,
      capus_cuDevicePrimaryCtxGetState.self)
    table.ctxGetCurrent = try find(
      "cuCtxGetCurrent", capus_cuCtxGetCurrent_since, capus_cuCtxGetCurrent.self)
    table.ctxPushCurrent = try find(
      "cuCtxPushCurrent", capus_cuCtxPushCurrent_since, capus_cuCtxPushCurrent.self)
    table.ctxPopCurrent = try find(
      "cuCtxPopCurrent", capus_cuCtxPopCurrent_since, capus_cuCtxPopCurrent.self)
    table.ctxGetDevice = try find(
      "cuCtxGetDevice", capus_cuCtxGetDevice_since, capus_cuCtxGetDevice.self)
    table.ctxSynchronize = try find(
      "cuCtxSynchronize", capus_cuCtxSynchronize_since, capus_cuCtxSynchronize.self)
    table.ctxGetStreamPriorityRange = try find(
      "cuCtxGetStreamPriorityRange", capus_cuCtxGetStreamPriorityRange_since,
      capus_cuCtxGetStreamPriorityRange.self)
    table.ctxEnablePeerAccess = try find(
      "cuCtxEnablePeerAccess", capus_cuCtxEnablePeerAccess_since, capus_cuCtxEnablePeerAccess.self)
    table.streamCreate = try find(
      "cuStreamCreateWithPriority", capus_cuStreamCreateWithPriority_since,
      capus_cuStreamCreateWithPriority.self)
    table.streamDestroy = try find(
      "cuStreamDestroy", capus_cuStreamDestroy_since, capus_cuStreamDestroy.self)
    table.streamSynchronize = try find(
      "cuStreamSynchronize", capus_cuStreamSynchronize_since, capus_cuStreamSynchronize.self)
    table.streamQuery = try find(
      "cuStreamQuery", capus_cuStreamQuery_since, capus_cuStreamQuery.self)
    table.streamWaitEvent = try find(
      "cuStreamWaitEvent", capus_cuStreamWaitEvent_since, capus_cuStreamWaitEvent.self)
    table.streamGetPriority = try find(
      "cuStreamGetPriority", capus_cuStreamGetPriority_since, capus_cuStreamGetPriority.self)
    table.streamGetCtx = try find(
      "cuStreamGetCtx", capus_cuStreamGetCtx_since, capus_cuStreamGetCtx.self)
    table.streamIsCapturing = try find(
      "cuStreamIsCapturing", capus_cuStreamIsCapturing_since, capus_cuStreamIsCapturing.self)
    table.streamBeginCapture = try find(
      "cuStreamBeginCapture", capus_cuStreamBeginCapture_since, capus_cuStreamBeginCapture.self)
    table.streamEndCapture = try find(
      "cuStreamEndCapture", capus_cuStreamEndCapture_since, capus_cuStreamEndCapture.self)
    table.streamGetCaptureInfo = try find(
      "cuStreamGetCaptureInfo", capus_cuStreamGetCaptureInfo_since,
      capus_cuStreamGetCaptureInfo.self)
    table.threadExchangeCaptureMode = try find(
      "cuThreadExchangeStreamCaptureMode", capus_cuThreadExchangeStreamCaptureMode_since,
      capus_cuThreadExchangeStreamCaptureMode.self)
    table.eventCreate = try find(
      "cuEventCreate", capus_cuEventCreate_since, capus_cuEventCreate.self)
    table.eventDestroy = try find(
      "cuEventDestroy", capus_cuEventDestroy_since, capus_cuEventDestroy.self)
    table.eventRecord = try find(
      "cuEventRecord", capus_cuEventRecord_since, capus_cuEventRecord.self)
    table.eventSynchronize = try find(
      "cuEventSynchronize", capus_cuEventSynchronize_since, capus_cuEventSynchronize.self)
    table.eventQuery = try find("cuEventQuery", capus_cuEventQuery_since, capus_cuEventQuery.self)
    table.eventElapsedTime = try find(
      "cuEventElapsedTime", capus_cuEventElapsedTime_since, capus_cuEventElapsedTime.self)
    table.memGetInfo = try find("cuMemGetInfo", capus_cuMemGetInfo_since, capus_cuMemGetInfo.self)
    table.memAlloc = try find("cuMemAlloc", capus_cuMemAlloc_since, capus_cuMemAlloc.self)
    table.memFree = try find("cuMemFree", capus_cuMemFree_since, capus_cuMemFree.self)
    table.memAllocAsync = try find(
      "cuMemAllocAsync", capus_cuMemAllocAsync_since, capus_cuMemAllocAsync.self)
    table.memFreeAsync = try find(
      "cuMemFreeAsync", capus_cuMemFreeAsync_since, capus_cuMemFreeAsync.self)
    table.memHostAlloc = try find(
      "cuMemHostAlloc", capus_cuMemHostAlloc_since, capus_cuMemHostAlloc.self)
    table.memFreeHost = try find(
      "cuMemFreeHost", capus_cuMemFreeHost_since, capus_cuMemFreeHost.self)
    table.memcpyHtoD = try find("cuMemcpyHtoD", capus_cuMemcpyHtoD_since, capus_cuMemcpyHtoD.self)
    table.memcpyDtoH = try find("cuMemcpyDtoH", capus_cuMemcpyDtoH_since, capus_cuMemcpyDtoH.self)
    table.memcpyHtoDAsync = try find(
      "cuMemcpyHtoDAsync", capus_cuMemcpyHtoDAsync_since, capus_cuMemcpyHtoDAsync.self)
    table.memcpyDtoHAsync = try find(
      "cuMemcpyDtoHAsync", capus_cuMemcpyDtoHAsync_since, capus_cuMemcpyDtoHAsync.self)
    table.memcpyDtoDAsync = try find(
      "cuMemcpyDtoDAsync", capus_cuMemcpyDtoDAsync_since, capus_cuMemcpyDtoDAsync.self)
    table.memcpyPeerAsync = try find(
      "cuMemcpyPeerAsync", capus_cuMemcpyPeerAsync_since, capus_cuMemcpyPeerAsync.self)
    table.memsetD8Async = try find(
      "cuMemsetD8Async", capus_cuMemsetD8Async_since, capus_cuMemsetD8Async.self)
    table.memsetD32Async = try find(
      "cuMemsetD32Async", capus_cuMemsetD32Async_since, capus_cuMemsetD32Async.self)
    table.moduleLoadDataEx = try find(
      "cuModuleLoadDataEx", capus_cuModuleLoadDataEx_since, capus_cuModuleLoadDataEx.self)
    table.moduleUnload = try find(
      "cuModuleUnload", capus_cuModuleUnload_since, capus_cuModuleUnload.self)
    table.moduleGetFunction = try find(
      "cuModuleGetFunction", capus_cuModuleGetFunction_since, capus_cuModuleGetFunction.self)
    table.moduleGetGlobal = try find(
      "cuModuleGetGlobal", capus_cuModuleGetGlobal_since, capus_cuModuleGetGlobal.self)
    table.funcGetAttribute = try find(
      "cuFuncGetAttribute", capus_cuFuncGetAttribute_since, capus_cuFuncGetAttribute.self)
    table.funcSetAttribute = try find(
      "cuFuncSetAttribute", capus_cuFuncSetAttribute_since, capus_cuFuncSetAttribute.self)
    // Optional: without it, lazy loading happens at the first launch, as the driver likes.
    if let address = resolver("cuFuncLoad", capus_cuFuncLoad_since) {
      table.funcLoad = unsafeBitCast(address, to: capus_cuFuncLoad.self)
    }
    table.launchKernelEx = try find(
      "cuLaunchKernelEx", capus_cuLaunchKernelEx_since, capus_cuLaunchKernelEx.self)
    table.occupancyMaxActiveBlocks = try find(
      "cuOccupancyMaxActiveBlocksPerMultiprocessor",
      capus_cuOccupancyMaxActiveBlocksPerMultiprocessor_since,
      capus_cuOccupancyMaxActiveBlocksPerMultiprocessor.self)
    table.occupancyMaxActiveClusters = try find(
      "cuOccupancyMaxActiveClusters", capus_cuOccupancyMaxActiveClusters_since,
      capus_cuOccupancyMaxActiveClusters.self)
    table.tensorMapEncodeTiled = try find(
      "cuTensorMapEncodeTiled", capus_cuTensorMapEncodeTiled_since,
      capus_cuTensorMapEncodeTiled.self)
    table.graphInstantiate = try find(
      "cuGraphInstantiateWithFlags", capus_cuGraphInstantiateWithFlags_since,
      capus_cuGraphInstantiateWithFlags.self)
    table.graphLaunch = try find(
      "cuGraphLaunch", capus_cuGraphLaunch_since, capus_cuGraphLaunch.self)
    table.graphUpload = try find(
      "cuGraphUpload", capus_cuGraphUpload_since, capus_cuGraphUpload.self)
    table.graphExecUpdate = try find(
      "cuGraphExecUpdate", capus_cuGraphExecUpdate_since, capus_cuGraphExecUpdate.self)
    table.graphGetNodes = try find(
      "cuGraphGetNodes", capus_cuGraphGetNodes_since, capus_cuGraphGetNodes.self)
    table.userObjectCreate = try find(
      "cuUserObjectCreate", capus_cuUserObjectCreate_since, capus_cuUserObjectCreate.self)
    table.userObjectRelease = try find(
      "cuUserObjectRelease", capus_cuUserObjectRelease_since, capus_cuUserObjectRelease.self)
    table.graphRetainUserObject = try find(
      "cuGraphRetainUserObject", capus_cuGraphRetainUserObject_since,
      capus_cuGraphRetainUserObject.self)
    table.graphDestroy = try find(
      "cuGraphDestroy", capus_cuGraphDestroy_since, capus_cuGraphDestroy.self)
    table.graphExecDestroy = try find(
      "cuGraphExecDestroy", capus_cuGraphExecDestroy_since, capus_cuGraphExecDestroy.self)
    return table
  }
}
