import ApusIR
import Foundation

/// NVIDIA's assembler as tests run it: found by `APUS_PTXAS`, then `PATH`, then `.venv-ptxas` in
/// the package (made by `Scripts/ptxas-install`).
struct Ptxas {
  let path: String

  /// The assembler, or nil where there is none.
  static let found: Ptxas? = {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment["APUS_PTXAS"] { return Ptxas(path: path) }
    let package = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let folders =
      (environment["PATH"] ?? "").split(separator: ":").map(String.init)
      + [package.appending(path: ".venv-ptxas/bin").path()]
    return folders.map { $0 + "/ptxas" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }.map(Ptxas.init)
  }()

  /// Whether ptxas tests run; prints SKIP once where they do not.
  static let isAvailable: Bool = {
    if found == nil {
      print("SKIP ptxas tests: no ptxas in APUS_PTXAS, PATH or .venv-ptxas; Scripts/ptxas-install")
    }
    return found != nil
  }()

  /// The newest PTX version that the assembler knows, from the CUDA release that it prints: 8.5 came
  /// with 12.5 and 12.6, then one per release, 9.0 with 13.0 (PTX § Release Notes).
  func newestVersion() throws -> PTXVersion? {
    let text = try run(["--version"]).log
    guard let start = text.range(of: "release ") else { return nil }
    let parts = text[start.upperBound...].prefix { $0.isNumber || $0 == "." }.split(separator: ".")
    guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return nil }
    return PTXVersion(major - 4, major == 12 && minor > 5 ? minor - 1 : minor)
  }

  /// What one kernel takes.
  struct Usage: Equatable {
    var registers = 0
    var sharedBytes = 0
    var spillBytes = 0
    var stackBytes = 0
  }

  struct Outcome {
    let status: Int32
    let log: String

    /// Lines of the log that name errors, with the line of PTX each is about.
    var errors: [(line: Int, text: String)] {
      log.split(separator: "\n").compactMap { text in
        guard text.contains("error"), let start = text.range(of: ", line ") else { return nil }
        let digits = text[start.upperBound...].prefix { $0.isNumber }
        return Int(digits).map { ($0, String(text)) }
      }
    }

    /// Lines that tell of serialised products (C75…) or other warnings.
    var warnings: [String] {
      log.split(separator: "\n").map(String.init).filter {
        $0.contains("C75") || $0.contains("warning")
      }
    }

    /// Resources by kernel, from `-v`.
    var usage: [String: Usage] {
      var all: [String: Usage] = [:]
      var kernel = ""
      for line in log.split(separator: "\n") {
        let words = line.split { " ',".contains($0) }.map(String.init)
        func number(before word: String...) -> Int? {
          words.indices.first { words[$0...].starts(with: word) && $0 > 0 }
            .flatMap { Int(words[$0 - 1]) }
        }
        if line.contains("Compiling entry function"), words.count > 6 {
          kernel = words[words.firstIndex(of: "function").map { $0 + 1 } ?? 0]
        }
        if let stack = number(before: "bytes", "stack") {
          all[kernel, default: Usage()].stackBytes = stack
          all[kernel, default: Usage()].spillBytes =
            (number(before: "bytes", "spill", "stores") ?? 0)
            + (number(before: "bytes", "spill", "loads") ?? 0)
        }
        if let registers = number(before: "registers") {
          all[kernel, default: Usage()].registers = registers
          all[kernel, default: Usage()].sharedBytes = number(before: "bytes", "smem") ?? 0
        }
      }
      return all
    }
  }

  /// Assembles a module for a target and drops the result.
  func assemble(_ text: String, architecture: String) throws -> Outcome {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "apus-ptxas-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appending(path: "module.ptx")
    try text.write(to: source, atomically: false, encoding: .utf8)
    return try run([
      "-arch", architecture, "-v", "-o", folder.appending(path: "out.cubin").path(), source.path(),
    ])
  }

  private func run(_ arguments: [String]) throws -> Outcome {
    let log = FileManager.default.temporaryDirectory
      .appending(path: "apus-ptxas-\(UUID().uuidString).log")
    try Data().write(to: log)
    defer { try? FileManager.default.removeItem(at: log) }
    let handle = try FileHandle(forWritingTo: log)
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.standardOutput = handle
    process.standardError = handle
    try process.run()
    process.waitUntilExit()
    try handle.close()
    return Outcome(
      status: process.terminationStatus, log: try String(contentsOf: log, encoding: .utf8))
  }
}
