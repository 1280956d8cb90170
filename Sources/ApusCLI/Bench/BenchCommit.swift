internal import Foundation

/// The commit of the checkout that the command runs in.
enum BenchCommit {
  /// `HEAD` of the repository around the current directory when it is Apus's, with `-dirty` when
  /// what the binary is built from differs from it; nil otherwise.
  static var current: String? {
    guard let root = git(["rev-parse", "--show-toplevel"]),
      FileManager.default.fileExists(atPath: root + "/Sources/ApusCLI/Bench"),
      let head = git(["rev-parse", "HEAD"]),
      let status = git(["-C", root, "status", "--porcelain", "--", "Sources", "Package.swift"])
    else { return nil }
    return status.isEmpty ? head : head + "-dirty"
  }

  private static func git(_ arguments: [String]) -> String? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["git"] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { return nil }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
