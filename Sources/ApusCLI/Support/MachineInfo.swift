import Foundation

/// The machine that figures were measured on.
struct MachineInfo: Codable, Sendable, Hashable, CustomStringConvertible {
  /// Processor name as the system states it.
  var cpuModel: String
  /// Processors that this process sees.
  var coreCount: Int
  /// Bytes of main memory.
  var memoryByteCount: UInt64
  /// Name and version of the operating system.
  var operatingSystem: String
  /// Processor architecture of this binary.
  var architecture: String

  /// This machine.
  static var current: MachineInfo {
    MachineInfo(
      cpuModel: currentCPUModel, coreCount: ProcessInfo.processInfo.activeProcessorCount,
      memoryByteCount: ProcessInfo.processInfo.physicalMemory,
      operatingSystem: currentOperatingSystem, architecture: currentArchitecture)
  }

  /// One line.
  var description: String {
    "\(cpuModel), \(coreCount) \(coreCount == 1 ? "core" : "cores"), "
      + "\(Format.bytes(Double(memoryByteCount))) memory, \(operatingSystem), \(architecture)"
  }

  /// The value of the first line `key : value` in the text of `/proc/cpuinfo`.
  static func field(_ key: String, inCPUInfo text: String) -> String? {
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let name = line[..<colon].trimmingCharacters(in: .whitespaces)
      let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      if name == key, !value.isEmpty { return value }
    }
    return nil
  }

  /// `PRETTY_NAME` of the text of `/etc/os-release`.
  static func prettyName(inOSRelease text: String) -> String? {
    for line in text.split(separator: "\n") where line.hasPrefix("PRETTY_NAME=") {
      let value = line.dropFirst("PRETTY_NAME=".count).trimmingCharacters(
        in: CharacterSet(charactersIn: "\"' "))
      if !value.isEmpty { return value }
    }
    return nil
  }

  private static var currentCPUModel: String {
    #if canImport(Darwin)
      var size = 0
      guard sysctlbyname("machdep.cpu.brand_string", nil, &size, nil, 0) == 0, size > 1 else {
        return "unknown processor"
      }
      var bytes = [UInt8](repeating: 0, count: size)
      guard sysctlbyname("machdep.cpu.brand_string", &bytes, &size, nil, 0) == 0 else {
        return "unknown processor"
      }
      return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    #else
      let text = readText("/proc/cpuinfo") ?? ""
      // AArch64 kernels state no model name.
      return field("model name", inCPUInfo: text) ?? field("Model", inCPUInfo: text)
        ?? field("CPU part", inCPUInfo: text).map { "\(currentArchitecture) part \($0)" }
        ?? "unknown processor"
    #endif
  }

  private static var currentOperatingSystem: String {
    readText("/etc/os-release").flatMap(prettyName(inOSRelease:))
      ?? ProcessInfo.processInfo.operatingSystemVersionString
  }

  private static var currentArchitecture: String {
    #if arch(x86_64)
      "x86-64"
    #elseif arch(arm64)
      "AArch64"
    #else
      "other architecture"
    #endif
  }
}

/// The text of a small system file; nil when there is none.
func readText(_ path: String) -> String? {
  try? String(contentsOfFile: path, encoding: .utf8)
}
