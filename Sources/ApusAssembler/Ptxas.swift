public import ApusIR
public import Foundation

/// NVIDIA's assembler of PTX, run as a tool: what the driver would make of a kernel, without a GPU.
///
/// The driver's own compiler may be another version; `Scripts/ptxas-matrix` runs several.
public struct Ptxas: Sendable, Hashable {
  /// Where the tool lies.
  public let path: String

  /// The tool at a path.
  public init(path: String) { self.path = path }

  /// The tool named by `APUS_PTXAS`, else the first in `PATH`; nil where there is
  /// none. `Scripts/ptxas-install` fetches one and prints its path.
  public static func find(
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Ptxas? {
    findTool("ptxas", variable: "APUS_PTXAS", environment: environment).map { Ptxas(path: $0) }
  }

  /// The tool that `find` gives, or an error that says how to get one.
  public static func require(path: String? = nil) throws(AssemblerError) -> Ptxas {
    if let path { return Ptxas(path: path) }
    guard let found = find() else {
      throw .notFound(
        tool: "ptxas", variable: "APUS_PTXAS", script: "Scripts/ptxas-install")
    }
    return found
  }

  /// The CUDA release that the tool is part of, such as `13.0`.
  public func release() throws(AssemblerError) -> String {
    let text = try Subprocess.run(path, ["--version"]).output
    guard let start = text.range(of: "release ") else {
      throw .tool(path: path, reason: "--version names no release: \(text)")
    }
    return String(text[start.upperBound...].prefix { $0.isNumber || $0 == "." })
  }

  /// The newest PTX version that the tool knows, from its CUDA release: 8.5 came with 12.5 and
  /// 12.6, then one per release, 9.0 with 13.0 (PTX § Release Notes).
  public func newestVersion() throws(AssemblerError) -> PTXVersion? {
    let parts = try release().split(separator: ".")
    guard parts.count == 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return nil }
    return PTXVersion(major - 4, major == 12 && minor > 5 ? minor - 1 : minor)
  }

  /// Assembles a module for an architecture. A refusal is an outcome with a status, not an error.
  ///
  /// - Parameter keepsCode: whether the outcome holds the machine code.
  public func assemble(
    _ text: String, architecture: String, keepsCode: Bool = false
  ) throws(AssemblerError) -> PtxasOutcome {
    do {
      return try withTemporaryFolder { folder in
        let source = folder.appending(path: "module.ptx")
        let code = folder.appending(path: "module.cubin")
        try Data(text.utf8).write(to: source)
        let run = try Subprocess.run(
          path, ["-arch", architecture, "-v", "-o", code.path(), source.path()])
        let bytes = keepsCode && run.status == 0 ? [UInt8](try Data(contentsOf: code)) : []
        return PtxasOutcome(status: run.status, log: run.output, code: bytes)
      }
    } catch let error as AssemblerError {
      throw error
    } catch {
      throw .tool(path: path, reason: error.localizedDescription)
    }
  }
}
