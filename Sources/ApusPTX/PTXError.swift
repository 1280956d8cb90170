public import ApusIR

/// Why a module has no PTX text for a target.
public enum PTXError: Error, Sendable, Hashable {
  /// The target lacks an op and `Legalisation` has no replacement for it.
  case unsupported(
    op: String, needs: Requirements, target: Target, kernel: String, location: SourceLocation)
  /// The target has no clusters.
  case unsupportedCluster(size: Int, target: Target, kernel: String)
  /// A node that the verifier refuses: an operand, result, region or table entry is missing.
  case malformed(
    op: String, requirement: String, found: String, kernel: String, location: SourceLocation)
  /// A kernel or parameter name that is no identifier, or that is taken.
  case invalidName(kind: String, name: String, kernel: String, requirement: String)
}

extension PTXError: CustomStringConvertible {
  /// `PTXPrinter.print: requirement; found value. remedy`.
  public var description: String {
    switch self {
    case .unsupported(let op, let needs, let target, let kernel, let location):
      "PTXPrinter.print: \(op) needs \(needs); found target \(target) in kernel \(kernel) "
        + "(\(location)). Legalise the kernel or print it for a newer target."
    case .unsupportedCluster(let size, let target, let kernel):
      "PTXPrinter.print: clusters need sm_90a; found a cluster of \(size) for \(target) in kernel "
        + "\(kernel). Use a cluster size of 1."
    case .malformed(let op, let requirement, let found, let kernel, let location):
      "PTXPrinter.print: \(op) \(requirement); found \(found) in kernel \(kernel) (\(location)). "
        + "Verify the kernel before printing it."
    case .invalidName(let kind, let name, let kernel, let requirement):
      "PTXPrinter.print: the \(kind) name must be \(requirement); found \"\(name)\" in kernel "
        + "\(kernel). Rename it."
    }
  }
}
