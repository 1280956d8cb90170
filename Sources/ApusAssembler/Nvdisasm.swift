public import Foundation

/// NVIDIA's disassembler, run as a tool: machine code as SASS text.
public struct Nvdisasm: Sendable, Hashable {
  /// Where the tool lies.
  public let path: String

  /// The tool at a path.
  public init(path: String) { self.path = path }

  /// The tool named by `APUS_NVDISASM`, else the first in `PATH`; nil where there is
  /// none. `Scripts/ptxas-install nvdisasm` fetches one and prints its path.
  public static func find(
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Nvdisasm? {
    findTool("nvdisasm", variable: "APUS_NVDISASM", environment: environment).map {
      Nvdisasm(path: $0)
    }
  }

  /// The tool that `find` gives, or an error that says how to get one.
  public static func require() throws(AssemblerError) -> Nvdisasm {
    guard let found = find() else {
      throw .notFound(
        tool: "nvdisasm", variable: "APUS_NVDISASM", script: "Scripts/ptxas-install nvdisasm")
    }
    return found
  }

  /// The SASS text of a cubin: code sections with labels, which `SASSFunction.parse` reads.
  public func disassemble(_ code: [UInt8]) throws(AssemblerError) -> String {
    let run: Subprocess
    do {
      run = try withTemporaryFolder { folder in
        let file = folder.appending(path: "module.cubin")
        try Data(code).write(to: file)
        return try Subprocess.run(path, ["-c", file.path()])
      }
    } catch let error as AssemblerError {
      throw error
    } catch {
      throw .tool(path: path, reason: error.localizedDescription)
    }
    guard run.status == 0 else {
      throw .refused(path: path, status: run.status, log: run.output)
    }
    return run.output
  }
}
