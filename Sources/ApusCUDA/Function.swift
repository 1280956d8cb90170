internal import CApusDriver

/// What a compiled kernel uses and allows.
public struct FunctionAttributes: Sendable, Hashable {
  /// 32-bit registers a thread.
  public var registers: Int
  /// Static shared bytes a block.
  public var staticSharedByteCount: Int
  /// Local bytes a thread: spills and arrays.
  public var localByteCount: Int
  /// Constant bytes.
  public var constantByteCount: Int
  /// Dynamic shared bytes that a launch may ask for.
  public var maxDynamicSharedByteCount: Int
  /// Threads that a block may have, given the registers.
  public var maxThreadsPerBlock: Int
  /// PTX version of the source times 10.
  public var ptxVersion: Int
  /// Compute capability of the code times 10.
  public var binaryVersion: Int
}

/// A kernel of a loaded module; keeps the module loaded.
public struct Function: Sendable {
  /// The module it is of.
  public let module: LoadedModule
  /// The driver's handle.
  public let handle: UInt
  /// Its symbol.
  public let name: String

  var context: Context { module.context }

  /// Reads the attributes. The corresponding driver function is cuFuncGetAttribute.
  public func attributes() throws(CUDAError) -> FunctionAttributes {
    let operation = "Function.attributes"
    let table = context.table
    return try context.withCurrent(operation) { () throws(CUDAError) -> FunctionAttributes in
      func read(_ attribute: Int) throws(CUDAError) -> Int {
        var value: Int32 = 0
        try table.check(
          table.funcGetAttribute(&value, Int32(attribute), handle), "cuFuncGetAttribute",
          operation, kernel: name)
        return Int(value)
      }
      return FunctionAttributes(
        registers: try read(CAPUS_FUNCTION_REGISTERS),
        staticSharedByteCount: try read(CAPUS_FUNCTION_SHARED_BYTES),
        localByteCount: try read(CAPUS_FUNCTION_LOCAL_BYTES),
        constantByteCount: try read(CAPUS_FUNCTION_CONSTANT_BYTES),
        maxDynamicSharedByteCount: try read(CAPUS_FUNCTION_MAX_DYNAMIC_SHARED_BYTES),
        maxThreadsPerBlock: try read(CAPUS_FUNCTION_MAX_THREADS_PER_BLOCK),
        ptxVersion: try read(CAPUS_FUNCTION_PTX_VERSION),
        binaryVersion: try read(CAPUS_FUNCTION_BINARY_VERSION))
    }
  }

  /// Raises the dynamic shared bytes that a launch may ask for; needed above 48 KB. The
  /// corresponding driver function is cuFuncSetAttribute.
  ///
  /// - Throws: `.argument` when the device's opt-in limit is smaller.
  public func setMaxDynamicShared(byteCount: Int) throws(CUDAError) {
    let limit = context.device.properties.sharedBytesPerBlockOptIn
    guard (0...limit).contains(byteCount) else {
      throw .argument(
        "Function.setMaxDynamicShared",
        [
          .init(
            "byteCount must not exceed the device's \(limit) shared bytes per block",
            found: "\(byteCount)")
        ], kernel: name)
    }
    try set(CAPUS_FUNCTION_MAX_DYNAMIC_SHARED_BYTES, byteCount, "Function.setMaxDynamicShared")
  }

  /// Allows clusters of more than 8 blocks, which other devices may not have. The corresponding
  /// driver function is cuFuncSetAttribute.
  public func allowNonPortableClusters() throws(CUDAError) {
    try set(CAPUS_FUNCTION_NON_PORTABLE_CLUSTER_ALLOWED, 1, "Function.allowNonPortableClusters")
  }

  private func set(_ attribute: Int, _ value: Int, _ operation: String) throws(CUDAError) {
    try context.call("cuFuncSetAttribute", operation, kernel: name) {
      $0.funcSetAttribute(handle, Int32(attribute), Int32(value))
    }
  }
}
