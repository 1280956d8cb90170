public import ApusCPU
public import ApusConformance
public import ApusCore
public import ApusNumerics
public import ArgumentParser

// How options spell the library's types. Parsing ignores case.

extension ElementType: ExpressibleByArgument {
  /// `f32`, `f16`, `bf16`, `e4m3` or `e5m2`.
  public init?(argument: String) {
    self.init(argument.lowercased())
  }

  /// The names that help lists.
  public static var allValueStrings: [String] { allCases.map(\.description) }
}

extension KVLayout: ExpressibleByArgument {
  /// `NHD` or `HND`.
  public init?(argument: String) {
    self.init(rawValue: argument.uppercased())
  }

  /// The names that help lists.
  public static var allValueStrings: [String] { allCases.map(\.rawValue) }
}

extension InstructionSet: ExpressibleByArgument {
  /// `portable`, `neon`, `avx2`, `avx512` or `avx512bf16`.
  public init?(argument: String) {
    self.init(rawValue: argument.lowercased())
  }

  /// The names that help lists.
  public static var allValueStrings: [String] { allCases.map(\.rawValue) }
}

extension CaseFamily: ExpressibleByArgument {}

extension CaseSize: ExpressibleByArgument {}
