internal import CApusDriver

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Opens the NVIDIA driver's library and finds its functions.
///
/// The same program runs where there is no driver: nothing links against it. The library is never
/// closed, because its threads outlive any handle.
public enum DriverLibrary {
  /// Names that are tried in this order; the loader searches its usual folders for them.
  public static let names = ["libcuda.so.1", "libcuda.so"]

  /// The functions of the first of `names` that can be opened.
  ///
  /// - Throws: `.driverMissing` with the loader's text, `.driverTooOld`, or `.functionMissing`.
  public static func open(
    _ names: [String] = names, required: DriverVersion = .oldestSupported
  ) throws(CUDAError) -> DriverTable {
    let library = try load(names)
    // These two are asked of the loader: a driver before 12.0 has no cuGetProcAddress_v2, and its
    // version explains why.
    guard let versionAddress = dlsym(library, "cuDriverGetVersion") else {
      throw CUDAError(
        kind: .functionMissing(since: DriverVersion(encoded: capus_cuDriverGetVersion_since)),
        operation: "Driver.load", function: "cuDriverGetVersion")
    }
    let getVersion = unsafeBitCast(versionAddress, to: capus_cuDriverGetVersion.self)
    var encoded: Int32 = 0
    if getVersion(&encoded) == 0 {
      let found = DriverVersion(encoded: Int(encoded))
      if found < required {
        throw CUDAError(
          kind: .driverTooOld(found: found, required: required), operation: "Driver.load")
      }
    }
    guard let address = dlsym(library, "cuGetProcAddress_v2") else {
      throw CUDAError(
        kind: .functionMissing(since: DriverVersion(encoded: capus_cuGetProcAddress_since)),
        operation: "Driver.load", function: "cuGetProcAddress_v2")
    }
    let getProcAddress = unsafeBitCast(address, to: capus_cuGetProcAddress.self)
    return try DriverTable.load { name, since in
      var function: UnsafeMutableRawPointer?
      let status = name.withCString {
        getProcAddress(
          $0, &function, Int32(since), UInt64(CAPUS_PROC_ADDRESS_LEGACY_STREAM), nil)
      }
      return status == 0 ? function : nil
    }
  }

  private static func load(_ names: [String]) throws(CUDAError) -> UnsafeMutableRawPointer {
    var texts: [String] = []
    for name in names {
      if let library = dlopen(name, RTLD_NOW) { return library }
      texts.append(dlerror().map { String(cString: $0) } ?? "\(name): no reason given")
    }
    throw CUDAError(
      kind: .driverMissing, operation: "Driver.load", text: texts.joined(separator: "; "))
  }
}
