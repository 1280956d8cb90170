import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What this machine's NVIDIA driver says, or why there is none.
struct GPUProbe: Codable, Sendable, Hashable {
  /// The driver's CUDA version, such as `13.0`; nil without a driver.
  var driverVersion: String?
  /// Names of the devices.
  var devices: [String]
  /// Why there is no device; nil when there is one.
  var reason: String?

  /// Asks the driver; loads it by name, so that a machine without one loses nothing.
  static func probe(library: String = "libcuda.so.1") -> GPUProbe {
    guard let handle = dlopen(library, RTLD_NOW) else {
      return GPUProbe(devices: [], reason: "no NVIDIA driver: \(library) not found")
    }
    defer { dlclose(handle) }
    guard let driver = Driver(handle) else {
      return GPUProbe(devices: [], reason: "\(library) lacks the functions of the CUDA driver")
    }
    var version: CInt = 0
    guard driver.version(&version) == 0 else {
      return GPUProbe(devices: [], reason: "\(library) does not state its version")
    }
    // The driver encodes 13.1 as 13010.
    let text = "\(version / 1000).\(version % 1000 / 10)"
    let status = driver.initialise(0)
    guard status == 0 else {
      return GPUProbe(
        driverVersion: text, devices: [],
        reason: "the NVIDIA driver does not start: cuInit returns \(status)")
    }
    var count: CInt = 0
    guard driver.count(&count) == 0, count > 0 else {
      return GPUProbe(driverVersion: text, devices: [], reason: "the driver finds no device")
    }
    return GPUProbe(driverVersion: text, devices: (0..<count).map(driver.name), reason: nil)
  }
}

/// The driver functions that the probe calls (CUDA driver API, "Initialization", "Version
/// Management", "Device Management"); all return 0 on success.
private struct Driver {
  let initialise: @convention(c) (CUnsignedInt) -> CInt
  let version: @convention(c) (UnsafeMutablePointer<CInt>) -> CInt
  let count: @convention(c) (UnsafeMutablePointer<CInt>) -> CInt
  private let nameOf: @convention(c) (UnsafeMutablePointer<CChar>, CInt, CInt) -> CInt

  init?(_ handle: UnsafeMutableRawPointer) {
    guard let initialise = dlsym(handle, "cuInit"),
      let version = dlsym(handle, "cuDriverGetVersion"),
      let count = dlsym(handle, "cuDeviceGetCount"), let name = dlsym(handle, "cuDeviceGetName")
    else { return nil }
    self.initialise = unsafeBitCast(initialise, to: (@convention(c) (CUnsignedInt) -> CInt).self)
    self.version = unsafeBitCast(
      version, to: (@convention(c) (UnsafeMutablePointer<CInt>) -> CInt).self)
    self.count = unsafeBitCast(
      count, to: (@convention(c) (UnsafeMutablePointer<CInt>) -> CInt).self)
    nameOf = unsafeBitCast(
      name, to: (@convention(c) (UnsafeMutablePointer<CChar>, CInt, CInt) -> CInt).self)
  }

  /// Name of a device. The device handle of ordinal `i` is `i` (cuDeviceGet).
  func name(_ device: CInt) -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard nameOf(&bytes, CInt(bytes.count), device) == 0 else { return "device \(device)" }
    return String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
