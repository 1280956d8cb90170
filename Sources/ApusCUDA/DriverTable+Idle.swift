internal import CApusDriver
internal import Synchronization

extension DriverTable {
  /// A driver that says yes to everything and does nothing: one device of compute capability 9.0 whose
  /// memory has addresses and no bytes. What calls over it cost is the host time of this library, to
  /// which a real driver adds its own.
  public static func idle() -> DriverTable {
    let shared = Shared()
    var table = DriverTable()
    table.initialize = { _ in 0 }
    table.driverGetVersion = { version in
      version.pointee = 13_000
      return 0
    }
    table.getErrorName = { _, _ in 1 }
    table.getErrorString = { _, _ in 1 }
    addIdleDevice(&table)
    addIdleContexts(&table, shared)
    addIdleMemory(&table, shared)
    addIdleModules(&table, shared)
    return table
  }

  /// Handles and addresses.
  private final class Shared: Sendable {
    private let counter = Atomic<UInt64>(1 << 30)

    /// The next of `byteCount` bytes, aligned to 256.
    func take(_ byteCount: Int = 256) -> UInt64 {
      let rounded = (UInt64(max(byteCount, 1)) + 255) & ~255
      return counter.wrappingAdd(rounded, ordering: .relaxed).oldValue
    }
  }

  private static func addIdleDevice(_ table: inout DriverTable) {
    table.deviceGetCount = { count in
      count.pointee = 1
      return 0
    }
    table.deviceGet = { device, ordinal in
      device.pointee = ordinal
      return 0
    }
    table.deviceGetName = { name, capacity, _ in
      if capacity > 0 { name.pointee = 0 }
      return 0
    }
    table.deviceGetPCIBusID = { text, capacity, _ in
      if capacity > 0 { text.pointee = 0 }
      return 0
    }
    table.deviceTotalMem = { bytes, _ in
      bytes.pointee = 1 << 37
      return 0
    }
    table.deviceGetAttribute = { value, attribute, _ in
      let values: [Int: Int32] = [
        CAPUS_DEVICE_MAX_THREADS_PER_BLOCK: 1024, CAPUS_DEVICE_MAX_GRID_X: .max,
        CAPUS_DEVICE_MAX_GRID_Y: 65535, CAPUS_DEVICE_MAX_GRID_Z: 65535,
        CAPUS_DEVICE_SHARED_PER_BLOCK: 48 << 10, CAPUS_DEVICE_WARP_SIZE: 32,
        CAPUS_DEVICE_MULTIPROCESSOR_COUNT: 132, CAPUS_DEVICE_L2_BYTES: 60 << 20,
        CAPUS_DEVICE_THREADS_PER_MULTIPROCESSOR: 2048, CAPUS_DEVICE_CAPABILITY_MAJOR: 9,
        CAPUS_DEVICE_SHARED_PER_MULTIPROCESSOR: 228 << 10,
        CAPUS_DEVICE_REGISTERS_PER_MULTIPROCESSOR: 65536, CAPUS_DEVICE_COOPERATIVE_LAUNCH: 1,
        CAPUS_DEVICE_SHARED_PER_BLOCK_OPT_IN: 227 << 10,
        CAPUS_DEVICE_RESERVED_SHARED_PER_BLOCK: 1024, CAPUS_DEVICE_MEMORY_POOLS: 1,
        CAPUS_DEVICE_CLUSTER_LAUNCH: 1, CAPUS_DEVICE_TENSOR_MAP_ACCESS: 1,
      ]
      value.pointee = values[Int(attribute)] ?? 0
      return 0
    }
  }

  private static func addIdleContexts(_ table: inout DriverTable, _ shared: Shared) {
    @Sendable func make(_ handle: Out<UInt>) -> Status {
      handle.pointee = UInt(shared.take())
      return 0
    }
    table.primaryCtxRetain = { context, _ in
      context.pointee = 1
      return 0
    }
    table.primaryCtxRelease = { _ in 0 }
    // The context is always current, as it is in a process that uses the CUDA runtime.
    table.ctxGetCurrent = { context in
      context.pointee = 1
      return 0
    }
    table.ctxSynchronize = { 0 }
    table.threadExchangeCaptureMode = { _ in 0 }
    table.streamCreate = { stream, _, _ in make(stream) }
    table.streamDestroy = { _ in 0 }
    table.streamSynchronize = { _ in 0 }
    table.streamWaitEvent = { _, _, _ in 0 }
    table.streamGetCtx = { _, context in
      context.pointee = 1
      return 0
    }
    table.streamIsCapturing = { _, status in
      status.pointee = 0
      return 0
    }
    table.eventCreate = { event, _ in make(event) }
    table.eventDestroy = { _ in 0 }
    table.eventRecord = { _, _ in 0 }
    table.eventSynchronize = { _ in 0 }
    table.eventQuery = { _ in 0 }
  }

  private static func addIdleMemory(_ table: inout DriverTable, _ shared: Shared) {
    table.memAlloc = { address, byteCount in
      address.pointee = shared.take(byteCount)
      return 0
    }
    table.memFree = { _ in 0 }
    table.memAllocAsync = { address, byteCount, _ in
      address.pointee = shared.take(byteCount)
      return 0
    }
    table.memFreeAsync = { _, _ in 0 }
    table.memHostAlloc = { address, byteCount, _ in
      address.pointee = .allocate(byteCount: byteCount, alignment: 4096)
      return 0
    }
    table.memFreeHost = { address in
      address.deallocate()
      return 0
    }
    table.memcpyHtoDAsync = { _, _, _, _ in 0 }
    table.memsetD8Async = { _, _, _, _ in 0 }
    table.memcpyHtoD = { _, _, _ in 0 }
    table.memcpyDtoH = { _, _, _ in 0 }
  }

  private static func addIdleModules(_ table: inout DriverTable, _ shared: Shared) {
    table.moduleLoadDataEx = { module, _, _, _, _ in
      module.pointee = UInt(shared.take())
      return 0
    }
    table.moduleUnload = { _ in 0 }
    table.moduleGetFunction = { function, _, _ in
      function.pointee = UInt(shared.take())
      return 0
    }
    table.funcSetAttribute = { _, _, _ in 0 }
    table.funcLoad = { _ in 0 }
    table.launchKernelEx = { _, _, _, _ in 0 }
    table.occupancyMaxActiveClusters = { count, _, _ in
      count.pointee = 8
      return 0
    }
    table.tensorMapEncodeTiled = { _, _, _, _, _, _, _, _, _, _, _, _ in 0 }
  }
}
