internal import Foundation

/// A tool that ran to its end.
struct Subprocess: Sendable {
  /// The exit status.
  let status: Int32
  /// Standard output and standard error, as they came.
  let output: String

  /// Runs a tool to its end. Output goes through a file: a tool cannot block on a full pipe.
  static func run(_ path: String, _ arguments: [String]) throws(AssemblerError) -> Subprocess {
    do {
      return try withTemporaryFolder { folder in
        let log = folder.appending(path: "log")
        try Data().write(to: log)
        let handle = try FileHandle(forWritingTo: log)
        let process = Process()
        process.executableURL = URL(filePath: path)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        try handle.close()
        return Subprocess(
          status: process.terminationStatus,
          output: String(decoding: try Data(contentsOf: log), as: UTF8.self))
      }
    } catch let error as AssemblerError {
      throw error
    } catch {
      throw .tool(path: path, reason: "\(error.localizedDescription)")
    }
  }
}

/// Calls `body` with a new folder that is removed afterwards.
func withTemporaryFolder<Result>(_ body: (URL) throws -> Result) throws -> Result {
  let folder = FileManager.default.temporaryDirectory
    .appending(path: "apus-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder)
}

/// Finds a tool: by the variable, then in PATH.
func findTool(_ name: String, variable: String, environment: [String: String]) -> String? {
  if let path = environment[variable], !path.isEmpty { return path }
  return (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
    .first { FileManager.default.isExecutableFile(atPath: $0) }
}
