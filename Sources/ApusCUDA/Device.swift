internal import CApusDriver

/// A GPU's compute capability, such as 9.0.
public struct ComputeCapability: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// First number: the generation.
  public let major: Int
  /// Second number.
  public let minor: Int

  /// Capability `major.minor`.
  public init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// Order by major, then minor.
  public static func < (left: ComputeCapability, right: ComputeCapability) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }

  /// `9.0`.
  public var description: String { "\(major).\(minor)" }
}

/// What planning and launching need to know of a device. Sizes are in bytes.
public struct DeviceProperties: Sendable, Hashable {
  /// Product name.
  public var name: String
  /// Compute capability.
  public var capability: ComputeCapability
  /// Bytes of device memory.
  public var memoryByteCount: Int
  /// Streaming multiprocessors.
  public var multiprocessorCount: Int
  /// Bytes of L2 cache.
  public var l2ByteCount: Int
  /// Threads that a block may have.
  public var maxThreadsPerBlock: Int
  /// Threads that one multiprocessor holds.
  public var maxThreadsPerMultiprocessor: Int
  /// Blocks along x, y and z that a grid may have.
  public var maxGrid: Dim3
  /// Threads of a warp.
  public var warpSize: Int
  /// 32-bit registers of one multiprocessor.
  public var registersPerMultiprocessor: Int
  /// Shared bytes of one multiprocessor.
  public var sharedBytesPerMultiprocessor: Int
  /// Shared bytes that a block may use without asking.
  public var sharedBytesPerBlock: Int
  /// Shared bytes that a block may use after `Function.setMaxDynamicShared`.
  public var sharedBytesPerBlockOptIn: Int
  /// Shared bytes that the driver keeps of each block.
  public var reservedSharedBytesPerBlock: Int
  /// Peak clock of the multiprocessors in kHz.
  public var clockKilohertz: Int
  /// Peak clock of the memory in kHz.
  public var memoryClockKilohertz: Int
  /// Width of the memory bus in bits.
  public var memoryBusBits: Int
  /// Thread block clusters can be launched.
  public var supportsClusters: Bool
  /// Cooperative grids can be launched.
  public var supportsCooperativeLaunch: Bool
  /// Stream-ordered allocation works.
  public var supportsMemoryPools: Bool
  /// Tensor maps can be used by kernels.
  public var supportsTensorMaps: Bool
}

/// One GPU of the machine, by its ordinal among those that the process may use.
public struct Device: Sendable {
  /// The driver that knows it.
  public let driver: Driver
  /// Position among the visible devices.
  public let ordinal: Int
  /// The driver's handle.
  public let handle: Int32
  /// Its properties; the driver is asked once per process and device.
  public let properties: DeviceProperties

  /// Opens a device. The corresponding driver functions are cuDeviceGet, cuDeviceGetName,
  /// cuDeviceTotalMem and cuDeviceGetAttribute.
  ///
  /// - Throws: `.argument` for an ordinal outside `0 ..< deviceCount`; `.call`.
  public init(_ ordinal: Int, of driver: Driver) throws(CUDAError) {
    let count = try driver.deviceCount()
    guard (0..<count).contains(ordinal) else {
      throw .argument(
        "Device.init",
        [.init("ordinal must be below the number of devices, \(count)", found: "\(ordinal)")])
    }
    var handle: Int32 = 0
    try driver.table.check(
      driver.table.deviceGet(&handle, Int32(ordinal)), "cuDeviceGet", "Device.init")
    self.init(
      driver: driver, ordinal: ordinal, handle: handle,
      properties: try driver.properties(of: handle))
  }

  private init(driver: Driver, ordinal: Int, handle: Int32, properties: DeviceProperties) {
    self.driver = driver
    self.ordinal = ordinal
    self.handle = handle
    self.properties = properties
  }

  /// The device with a driver handle. Handles and ordinals are the same numbers (cuDeviceGet).
  init(handle: Int32, of driver: Driver) throws(CUDAError) {
    try self.init(Int(handle), of: driver)
  }

  /// Any attribute by its number in CUdevice_attribute. The corresponding driver function is
  /// cuDeviceGetAttribute.
  public func attribute(_ number: Int32) throws(CUDAError) -> Int {
    try DeviceProperties.attribute(number, of: handle, driver.table, "Device.attribute")
  }

  /// The PCI address, such as `0000:3B:00.0`. The corresponding driver function is
  /// cuDeviceGetPCIBusId.
  public func pciAddress() throws(CUDAError) -> String {
    var bytes = [CChar](repeating: 0, count: 64)
    try driver.table.check(
      driver.table.deviceGetPCIBusID(&bytes, Int32(bytes.count), handle), "cuDeviceGetPCIBusId",
      "Device.pciAddress")
    return text(bytes)
  }

  /// Whether kernels of this device can read and write the memory of `peer`. The corresponding
  /// driver function is cuDeviceCanAccessPeer.
  public func canAccess(_ peer: Device) throws(CUDAError) -> Bool {
    var value: Int32 = 0
    try driver.table.check(
      driver.table.deviceCanAccessPeer(&value, handle, peer.handle), "cuDeviceCanAccessPeer",
      "Device.canAccess")
    return value != 0
  }
}

extension DeviceProperties {
  init(of device: Int32, _ table: DriverTable) throws(CUDAError) {
    let operation = "Device.init"
    func read(_ number: Int) throws(CUDAError) -> Int {
      try Self.attribute(Int32(number), of: device, table, operation)
    }
    var bytes = [CChar](repeating: 0, count: 256)
    try table.check(
      table.deviceGetName(&bytes, Int32(bytes.count), device), "cuDeviceGetName", operation)
    name = text(bytes)
    var total = 0
    try table.check(table.deviceTotalMem(&total, device), "cuDeviceTotalMem", operation)
    memoryByteCount = total
    capability = ComputeCapability(
      try read(CAPUS_DEVICE_CAPABILITY_MAJOR), try read(CAPUS_DEVICE_CAPABILITY_MINOR))
    multiprocessorCount = try read(CAPUS_DEVICE_MULTIPROCESSOR_COUNT)
    l2ByteCount = try read(CAPUS_DEVICE_L2_BYTES)
    maxThreadsPerBlock = try read(CAPUS_DEVICE_MAX_THREADS_PER_BLOCK)
    maxThreadsPerMultiprocessor = try read(CAPUS_DEVICE_THREADS_PER_MULTIPROCESSOR)
    maxGrid = Dim3(
      try read(CAPUS_DEVICE_MAX_GRID_X), try read(CAPUS_DEVICE_MAX_GRID_Y),
      try read(CAPUS_DEVICE_MAX_GRID_Z))
    warpSize = try read(CAPUS_DEVICE_WARP_SIZE)
    registersPerMultiprocessor = try read(CAPUS_DEVICE_REGISTERS_PER_MULTIPROCESSOR)
    sharedBytesPerMultiprocessor = try read(CAPUS_DEVICE_SHARED_PER_MULTIPROCESSOR)
    sharedBytesPerBlock = try read(CAPUS_DEVICE_SHARED_PER_BLOCK)
    sharedBytesPerBlockOptIn = try read(CAPUS_DEVICE_SHARED_PER_BLOCK_OPT_IN)
    reservedSharedBytesPerBlock = try read(CAPUS_DEVICE_RESERVED_SHARED_PER_BLOCK)
    clockKilohertz = try read(CAPUS_DEVICE_CLOCK_KHZ)
    memoryClockKilohertz = try read(CAPUS_DEVICE_MEMORY_CLOCK_KHZ)
    memoryBusBits = try read(CAPUS_DEVICE_MEMORY_BUS_BITS)
    supportsClusters = try read(CAPUS_DEVICE_CLUSTER_LAUNCH) != 0
    supportsCooperativeLaunch = try read(CAPUS_DEVICE_COOPERATIVE_LAUNCH) != 0
    supportsMemoryPools = try read(CAPUS_DEVICE_MEMORY_POOLS) != 0
    supportsTensorMaps = try read(CAPUS_DEVICE_TENSOR_MAP_ACCESS) != 0
  }

  static func attribute(
    _ number: Int32, of device: Int32, _ table: DriverTable, _ operation: String
  ) throws(CUDAError) -> Int {
    var value: Int32 = 0
    try table.check(
      table.deviceGetAttribute(&value, number, device), "cuDeviceGetAttribute", operation)
    return Int(value)
  }
}

/// The text of a buffer that the driver ended with 0.
func text(_ bytes: [CChar]) -> String {
  String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
