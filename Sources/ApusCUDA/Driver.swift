internal import ApusThreads

/// An initialised driver: its functions, its version, and who hears of its events.
public final class Driver: Sendable {
  /// The functions, real or fake.
  public let table: DriverTable
  /// The newest CUDA version that the driver supports.
  public let version: DriverVersion
  private let observer: @Sendable (DriverEvent) -> Void
  private let properties = Lock<[Int32: DeviceProperties]>([:])

  /// Loads and initialises the machine's driver.
  ///
  /// - Throws: `.driverMissing`, `.driverTooOld`, `.functionMissing`, or `.call` of cuInit.
  public static func load(
    required: DriverVersion = .oldestSupported,
    observer: @escaping @Sendable (DriverEvent) -> Void = { _ in }
  ) throws(CUDAError) -> Driver {
    try Driver(
      table: DriverLibrary.open(required: required), required: required, observer: observer)
  }

  /// Initialises the driver behind `table`. The corresponding driver functions are
  /// cuDriverGetVersion and cuInit.
  public init(
    table: DriverTable, required: DriverVersion = .oldestSupported,
    observer: @escaping @Sendable (DriverEvent) -> Void = { _ in }
  ) throws(CUDAError) {
    let operation = "Driver.init"
    var encoded: Int32 = 0
    try table.check(table.driverGetVersion(&encoded), "cuDriverGetVersion", operation)
    let version = DriverVersion(encoded: Int(encoded))
    if version < required {
      throw CUDAError(kind: .driverTooOld(found: version, required: required), operation: operation)
    }
    try table.check(table.initialize(0), "cuInit", operation)
    self.table = table
    self.version = version
    self.observer = observer
  }

  /// Number of devices that the process may use. The corresponding driver function is
  /// cuDeviceGetCount.
  public func deviceCount() throws(CUDAError) -> Int {
    var count: Int32 = 0
    try table.check(table.deviceGetCount(&count), "cuDeviceGetCount", "Driver.deviceCount")
    return Int(count)
  }

  /// Properties of a device, read from the driver once: adopting a context costs no attribute calls.
  func properties(of device: Int32) throws(CUDAError) -> DeviceProperties {
    if let known = properties.withLock({ $0[device] }) { return known }
    let read = try DeviceProperties(of: device, table)
    properties.withLock { $0[device] = read }
    return read
  }

  /// Passes an event to the observer.
  func report(_ event: DriverEvent) { observer(event) }
}

extension DriverTable {
  /// Throws unless `status` is success.
  @inline(__always)
  func check(
    _ status: Status, _ function: String, _ operation: String, kernel: String? = nil
  ) throws(CUDAError) {
    if status == 0 { return }
    throw error(status, function, operation, kernel: kernel)
  }

  /// The error of a status that is no success, with the driver's words for it.
  func error(
    _ status: Status, _ function: String, _ operation: String, kind: CUDAError.Kind = .call,
    kernel: String? = nil
  ) -> CUDAError {
    CUDAError(
      kind: kind, operation: operation, function: function, code: status,
      name: words(getErrorName, status) ?? "CUDA_ERROR_\(status)",
      text: words(getErrorString, status) ?? "no description", kernel: kernel)
  }

  private func words(_ function: (Status, OutText) -> Status, _ status: Status) -> String? {
    var text: UnsafePointer<CChar>?
    guard function(status, &text) == 0, let text else { return nil }
    return String(cString: text)
  }
}
