import Apus
import ApusCUDA
import ApusIR

/// What this machine's NVIDIA driver says, or why there is no GPU.
struct GPUProbe: Codable, Sendable, Hashable {
  /// One GPU.
  struct Device: Codable, Sendable, Hashable {
    /// Product name.
    var name: String
    /// Compute capability, such as `9.0`.
    var capability: String
    /// What kernels are built for, such as `sm_90a`; nil for a GPU before sm_80.
    var target: String?
    /// Bytes of memory.
    var memoryByteCount: Int
    /// Streaming multiprocessors.
    var multiprocessorCount: Int
    /// Bytes of L2 cache.
    var l2ByteCount: Int
    /// Peak clock of the multiprocessors.
    var clockMegahertz: Int
    /// Peak clock of the memory.
    var memoryClockMegahertz: Int
    /// PCI address.
    var pciAddress: String
  }

  /// The newest CUDA that the driver supports, such as `13.0`; nil without a driver.
  var driverVersion: String?
  /// The oldest driver that the library accepts, as the CUDA that it came with.
  var minimumDriverVersion = DriverVersion.oldestSupported.description
  /// The GPUs.
  var devices: [Device]
  /// Why there is none; nil when there is one.
  var reason: String?

  /// Asks the driver; loads it by name, so that a machine without one loses nothing.
  static func probe(libraries: [String] = DriverLibrary.names) -> GPUProbe {
    var probe = GPUProbe(devices: [])
    do throws(CUDAError) {
      let driver = try Driver(table: DriverLibrary.open(libraries))
      probe = try GPUProbe(driver)
    } catch {
      if case .driverTooOld(let found, _) = error.kind { probe.driverVersion = "\(found)" }
      probe.reason = error.description
    }
    return probe
  }

  init(devices: [Device]) { self.devices = devices }

  /// What a driver says.
  init(_ driver: Driver) throws(CUDAError) {
    driverVersion = driver.version.description
    devices = []
    for ordinal in 0..<(try driver.deviceCount()) {
      let device = try ApusCUDA.Device(ordinal, of: driver)
      let properties = device.properties
      devices.append(
        Device(
          name: properties.name, capability: properties.capability.description,
          target: Target(capability: properties.capability)?.description,
          memoryByteCount: properties.memoryByteCount,
          multiprocessorCount: properties.multiprocessorCount,
          l2ByteCount: properties.l2ByteCount,
          clockMegahertz: properties.clockKilohertz / 1000,
          memoryClockMegahertz: properties.memoryClockKilohertz / 1000,
          pciAddress: try device.pciAddress()))
    }
    if devices.isEmpty { reason = "the driver finds no device" }
  }

  /// The lines of the report.
  var lines: [String] {
    var lines = devices.enumerated().map { index, device in
      "GPU \(index)         \(device.name), \(device.target ?? "not supported: before sm_80") "
        + "(capability \(device.capability)), "
        + "\(Format.bytes(Double(device.memoryByteCount))), \(device.multiprocessorCount) "
        + "multiprocessors, L2 \(Format.bytes(Double(device.l2ByteCount))), "
        + "\(device.clockMegahertz) MHz, memory \(device.memoryClockMegahertz) MHz, "
        + device.pciAddress
    }
    if let driverVersion {
      lines.append(
        "driver        CUDA \(driverVersion); CUDA \(minimumDriverVersion) or newer needed")
    }
    if let reason { lines.append("GPU           none: \(reason)") }
    return lines
  }
}
