/// Why a tool of the CUDA toolkit gave no answer.
public enum AssemblerError: Error, Sendable, Hashable {
  /// There is no such tool; `variable` would name one.
  case notFound(tool: String, variable: String, script: String)
  /// The tool did not start, or its files could not be written and read.
  case tool(path: String, reason: String)
  /// The tool refused its input.
  case refused(path: String, status: Int32, log: String)
}

extension AssemblerError: CustomStringConvertible {
  /// `tool: requirement; found value. remedy`.
  public var description: String {
    switch self {
    case .notFound(let tool, let variable, let script):
      "\(tool): the tool must be named by \(variable) or lie in PATH; found none. Run \(script)."
    case .tool(let path, let reason):
      "\(path): the tool must run; found: \(reason)"
    case .refused(let path, let status, let log):
      "\(path): the tool must accept its input; found status \(status):\n\(log)"
    }
  }
}
