/// One broken rule of the language at one place in a kernel's Swift source.
public struct Diagnostic: Sendable, Hashable, CustomStringConvertible {
  /// The rules, each checked by one file.
  public enum Rule: String, Sendable, Hashable, CaseIterable {
    /// Tables and nesting: indices, regions, roles, breaks, unreachable code.
    case structure
    /// Operand and result types.
    case types
    /// A value is used after its definition, inside its region.
    case definitions
    /// Variables are declared, written by the right ops, and written at all.
    case variables
    /// Immediates lie in their ranges.
    case immediates
    /// The target has the instruction.
    case target
    /// Shared memory fits the target.
    case sharedMemory
    /// Accumulators and register operands rest between issue and wait.
    case accumulators
    /// Register budgets and the fragments that must fit them.
    case registers
    /// Named barriers can complete.
    case namedBarriers
    /// mbarriers are initialised, arrived at and armed.
    case mbarriers
    /// Rings hand as many stages back as forth.
    case rings
    /// Asynchronous groups are committed and waited for.
    case asyncGroups
  }

  /// The kernel's symbol.
  public let kernel: String
  /// The broken rule.
  public let rule: Rule
  /// Where.
  public let location: SourceLocation
  /// What must hold.
  public let requirement: String
  /// What was found.
  public let found: String
  /// What to do, if that is not obvious.
  public let remedy: String?

  /// `Softmax.swift:31: kernel NAME [types]: requirement; found …. remedy`.
  public var description: String {
    "\(location): kernel \(kernel) [\(rule.rawValue)]: \(requirement); found \(found)."
      + (remedy.map { " \($0)" } ?? "")
  }
}

/// A kernel that does not verify; it never reaches a back end.
public struct VerificationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Everything found, in source order of the rules; not empty.
  public let diagnostics: [Diagnostic]

  /// All diagnostics, a line each.
  public var description: String {
    diagnostics.map(\.description).joined(separator: "\n")
  }
}
