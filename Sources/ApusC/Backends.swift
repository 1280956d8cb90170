internal import Apus
internal import ApusCUDA
public import CApus

/// See `apus.h`.
@_cdecl("apus_abi_version")
public func abiVersion() -> UInt32 { UInt32(APUS_ABI_VERSION) }

/// The library's version, terminated, for as long as the process lives.
private let versionText = StaticString("0.1.0")

/// See `apus.h`.
@_cdecl("apus_version")
public func version() -> UnsafePointer<CChar>? {
  UnsafeRawPointer(versionText.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// See `apus.h`.
@_cdecl("apus_last_error_message")
public func lastErrorMessage() -> UnsafePointer<CChar>? { capus_last_error() }

/// See `apus.h`.
@_cdecl("apus_backend_create_cpu")
public func backendCreateCPU(
  _ instructionSet: UnsafePointer<CChar>?, _ threadCount: Int32,
  _ backend: UnsafeMutablePointer<UInt64>?
) -> apus_status {
  perform { () throws(ApusError) in
    let operation = "apus_backend_create_cpu"
    let backend = try required(backend, "backend", operation)
    var set: InstructionSet?
    if let instructionSet {
      let name = String(cString: instructionSet)
      set = InstructionSet(rawValue: name)
      if set == nil {
        throw violation(
          operation, "instruction_set must name one or be null", found: name,
          remedy: "Known: \(InstructionSet.allCases.map(\.rawValue).joined(separator: ", ")).")
      }
    }
    backend.pointee = Handles.backends.insert(
      try CPUBackend(
        instructionSet: set, threadCount: threadCount == 0 ? nil : Int(threadCount)))
  }
}

/// See `apus.h`.
@_cdecl("apus_backend_create_cuda")
public func backendCreateCUDA(
  _ device: Int32, _ backend: UnsafeMutablePointer<UInt64>?
) -> apus_status {
  perform { () throws(ApusError) in
    let backend = try required(backend, "backend", "apus_backend_create_cuda")
    backend.pointee = Handles.backends.insert(try CUDABackend(device: Int(device)))
  }
}

/// See `apus.h`.
@_cdecl("apus_backend_destroy")
public func backendDestroy(_ backend: UInt64) -> apus_status {
  perform { () throws(ApusError) in
    try Handles.backends.remove(backend, "apus_backend_destroy")
  }
}

/// See `apus.h`.
@_cdecl("apus_backend_name")
public func backendName(
  _ backend: UInt64, _ text: UnsafeMutablePointer<CChar>?, _ capacity: UInt,
  _ length: UnsafeMutablePointer<Int>?
) -> apus_status {
  perform { () throws(ApusError) in
    copyText(
      try Handles.backends.object(backend, "apus_backend_name").name, text, capacity, length)
  }
}

/// See `apus.h`.
@_cdecl("apus_cuda_device_count")
public func cudaDeviceCount(_ count: UnsafeMutablePointer<Int32>?) -> apus_status {
  perform { () throws(ApusError) in
    let count = try required(count, "count", "apus_cuda_device_count")
    do throws(CUDAError) {
      count.pointee = Int32(clamping: try Driver.load().deviceCount())
    } catch {
      // A machine without a driver, or whose driver finds no device (CUDA_ERROR_NO_DEVICE), has none.
      guard error.kind == .driverMissing || error.code == 100 else {
        throw .environment(
          EnvironmentError(
            operation: "apus_cuda_device_count", code: Int(error.code), text: error.description))
      }
      count.pointee = 0
    }
  }
}
