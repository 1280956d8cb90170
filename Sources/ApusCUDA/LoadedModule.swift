internal import CApusDriver

/// What a module is made of.
public enum ModuleImage: Sendable, Hashable {
  /// PTX text, which the driver compiles.
  case ptx(String)
  /// A cubin or fat binary.
  case binary([UInt8])
}

/// How the driver compiles a module.
public struct JITOptions: Sendable, Hashable {
  /// Ask for registers, spills and serialisation in the log.
  public var isVerbose = true
  /// Upper bound of registers a thread; nil leaves it to the module.
  public var maxRegisters: Int?
  /// 0 to 4; nil is the driver's default, 4.
  public var optimizationLevel: Int?
  /// Keep line numbers for profilers.
  public var generatesLineInfo = false
  /// Target to compile for; nil is the context's device, which is what running needs.
  public var target: Target?
  /// Bytes of each of the two logs that are kept.
  public var logByteCapacity = 1 << 16

  /// A compilation target, such as 9.0 with the architecture's own instructions for sm_90a.
  public struct Target: Sendable, Hashable {
    /// The compute capability.
    public var capability: ComputeCapability
    /// Whether instructions of this architecture alone may be used.
    public var isArchitectureSpecific: Bool

    /// A target.
    public init(_ capability: ComputeCapability, isArchitectureSpecific: Bool) {
      self.capability = capability
      self.isArchitectureSpecific = isArchitectureSpecific
    }

    /// The value of CUjit_target.
    var code: Int {
      capability.major * 10 + capability.minor
        + (isArchitectureSpecific ? CAPUS_JIT_TARGET_ACCELERATED : 0)
    }
  }

  /// The driver's defaults with a verbose log.
  public init() {}
}

/// A module in a context: compiled code and its symbols.
///
/// A class, because its functions and every graph or cache that uses them share it; the last one to
/// go unloads it.
public final class LoadedModule: Sendable {
  /// The context it was loaded into.
  public let context: Context
  /// The driver's handle.
  public let handle: UInt
  /// A name for messages and events.
  public let name: String
  /// The compiler's findings; empty when the driver's disk cache had the module.
  public let log: JITLog
  /// Time that loading took, compilation included.
  public let loadNanoseconds: UInt64

  /// Compiles and loads a module. The corresponding driver function is cuModuleLoadDataEx.
  ///
  /// Reports `.moduleLoaded`, and `.slowCode` when the log shows spills or serialised matrix
  /// instructions.
  ///
  /// - Parameter name: stands in messages and events; by convention the kernel's symbol.
  /// - Throws: `.compilation` with the compiler's log when the driver refuses the module.
  public init(
    _ image: ModuleImage, name: String, options: JITOptions = JITOptions(), in context: Context
  ) throws(CUDAError) {
    var loader = ModuleLoader(options: options)
    defer { loader.deallocate() }
    let start = ContinuousClock.now
    let status = try context.withCurrent("LoadedModule.init") { () throws(CUDAError) in
      loader.load(image, context.table)
    }
    let elapsed = (ContinuousClock.now - start).components
    let log = loader.log(of: image)
    guard status == 0 else {
      throw context.table.error(
        status, "cuModuleLoadDataEx", "LoadedModule.init", kind: .compilation(log), kernel: name)
    }
    self.context = context
    self.name = name
    self.log = log
    handle = loader.handle
    loadNanoseconds =
      UInt64(elapsed.seconds) * 1_000_000_000 + UInt64(elapsed.attoseconds / 1_000_000_000)
    context.driver.report(
      .moduleLoaded(name: name, log: log, nanoseconds: loadNanoseconds))
    if log.isSlow { context.driver.report(.slowCode(name: name, log: log)) }
  }

  deinit {
    let handle = handle
    context.release("cuModuleUnload", "LoadedModule.deinit") { $0.moduleUnload(handle) }
  }

  /// A kernel of the module, ready to launch. The corresponding driver functions are
  /// cuModuleGetFunction and, from CUDA 12.4 on, cuFuncLoad, so that lazy loading does not happen
  /// inside the first launch or a graph capture.
  public func function(_ symbol: String) throws(CUDAError) -> Function {
    let operation = "LoadedModule.function"
    let table = context.table
    return try context.withCurrent(operation) { () throws(CUDAError) -> Function in
      var function: UInt = 0
      let status = symbol.withCString { table.moduleGetFunction(&function, handle, $0) }
      try table.check(status, "cuModuleGetFunction", operation, kernel: symbol)
      if let load = table.funcLoad {
        try table.check(load(function), "cuFuncLoad", operation, kernel: symbol)
      }
      return Function(module: self, handle: function, name: symbol)
    }
  }

  /// A global variable of the module. The corresponding driver function is cuModuleGetGlobal.
  public func global(_ symbol: String) throws(CUDAError) -> DeviceView {
    var address: UInt64 = 0
    var byteCount = 0
    try context.call("cuModuleGetGlobal", "LoadedModule.global", kernel: symbol) { table in
      symbol.withCString { table.moduleGetGlobal(&address, &byteCount, handle, $0) }
    }
    return DeviceView(address: address, byteCount: byteCount)
  }
}

/// The option arrays and log buffers of one cuModuleLoadDataEx.
private struct ModuleLoader {
  var handle: UInt = 0
  private var keys: [Int32] = []
  private var values: [UnsafeMutableRawPointer?] = []
  private let info: UnsafeMutableBufferPointer<CChar>
  private let errors: UnsafeMutableBufferPointer<CChar>

  init(options: JITOptions) {
    // The driver ends its texts with 0 inside the size it is given; one byte more makes sure.
    let capacity = max(0, options.logByteCapacity)
    info = .allocate(capacity: capacity + 1)
    errors = .allocate(capacity: capacity + 1)
    info.initialize(repeating: 0)
    errors.initialize(repeating: 0)
    add(CAPUS_JIT_INFO_LOG, UnsafeMutableRawPointer(info.baseAddress))
    add(CAPUS_JIT_INFO_LOG_BYTES, capacity)
    add(CAPUS_JIT_ERROR_LOG, UnsafeMutableRawPointer(errors.baseAddress))
    add(CAPUS_JIT_ERROR_LOG_BYTES, capacity)
    add(CAPUS_JIT_LOG_VERBOSE, options.isVerbose ? 1 : 0)
    if let count = options.maxRegisters { add(CAPUS_JIT_MAX_REGISTERS, count) }
    if let level = options.optimizationLevel { add(CAPUS_JIT_OPTIMIZATION_LEVEL, level) }
    if options.generatesLineInfo { add(CAPUS_JIT_GENERATE_LINE_INFO, 1) }
    if let target = options.target { add(CAPUS_JIT_TARGET, target.code) }
  }

  func deallocate() {
    info.deallocate()
    errors.deallocate()
  }

  mutating func load(_ image: ModuleImage, _ table: DriverTable) -> DriverTable.Status {
    switch image {
    case .ptx(let text):
      text.withCString { load(UnsafeRawPointer($0), table) }
    case .binary(let bytes):
      bytes.withUnsafeBytes { bytes in
        // The driver reads a header without knowing the size.
        guard let base = bytes.baseAddress, bytes.count > 0 else {
          return DriverTable.Status(CAPUS_ERROR_INVALID_IMAGE)
        }
        return load(base, table)
      }
    }
  }

  private mutating func load(_ image: UnsafeRawPointer, _ table: DriverTable) -> DriverTable.Status
  {
    table.moduleLoadDataEx(&handle, image, UInt32(keys.count), keys, &values)
  }

  func log(of image: ModuleImage) -> JITLog {
    var source: String?
    if case .ptx(let text) = image { source = text }
    return JITLog(info: text(info), errors: text(errors), source: source)
  }

  private func text(_ buffer: UnsafeMutableBufferPointer<CChar>) -> String {
    String(
      decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Options that are numbers travel in the place of the pointer (CUjit_option).
  private mutating func add(_ key: Int, _ number: Int) {
    add(key, UnsafeMutableRawPointer(bitPattern: number))
  }

  private mutating func add(_ key: Int, _ value: UnsafeMutableRawPointer?) {
    keys.append(Int32(key))
    values.append(value)
  }
}
