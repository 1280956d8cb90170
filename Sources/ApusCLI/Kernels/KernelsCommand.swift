import ApusCore
import ApusDSL
public import ApusIR
public import ApusKernels
public import ArgumentParser

/// `apus kernels`: the GPU kernels that ship, and every form they take on the way to a GPU.
struct KernelsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kernels",
    abstract: "List, print, assemble and simulate the GPU kernels; no GPU needed.",
    discussion: """
      Every shipped configuration is a row of `apus kernels list`, named by its symbol. The other \
      commands show one row as IR or PTX, what it takes of a GPU, run it on the CPU under strict \
      checks, or write machine code for machines without a compiler. list, resources and simulate \
      print JSON with --json.
      """,
    subcommands: [
      KernelsListCommand.self, KernelsPrintCommand.self, KernelsIRCommand.self,
      KernelsResourcesCommand.self, KernelsSASSCommand.self, KernelsSimulateCommand.self,
      KernelsPackCommand.self,
    ])
}

/// Which rows a command is about.
struct CatalogueOptions: ParsableArguments {
  @Option(help: "Only rows of one family: \(KernelFamily.names).")
  var family: KernelFamily?

  @Option(help: "Only one target: \(Target.names).")
  var target: Target?

  /// The chosen rows of a catalogue.
  ///
  /// - Parameter symbols: the rows to take, in this order; all for none.
  /// - Throws: `ArgumentError` for a symbol that is not there, with those that resemble it.
  func rows(
    _ symbols: [String] = [], of catalogue: [any ShippedKernel] = KernelCatalog.all,
    operation: String
  ) throws(ArgumentError) -> [any ShippedKernel] {
    var rows = catalogue
    if !symbols.isEmpty {
      rows = []
      for symbol in symbols { rows.append(try Self.row(symbol, of: catalogue, operation)) }
    }
    return rows.filter { row in
      (family.map { $0 == row.family } ?? true) && (target.map(row.targets.contains) ?? true)
    }
  }

  /// The targets of a row that are asked for.
  func targets(of row: any ShippedKernel) -> [Target] {
    row.targets.filter { target == nil || target == $0 }
  }

  /// The row with a symbol.
  static func row(
    _ symbol: String, of catalogue: [any ShippedKernel] = KernelCatalog.all, _ operation: String
  ) throws(ArgumentError) -> any ShippedKernel {
    if let row = catalogue.first(where: { $0.symbol == symbol }) { return row }
    let words = Set(symbol.split(separator: "_"))
    let alike =
      catalogue.map(\.symbol)
      .map { (symbol: $0, common: words.intersection($0.split(separator: "_")).count) }
      .filter { $0.common > 0 }.sorted { $0.common > $1.common }.prefix(3).map(\.symbol)
    throw ArgumentError(
      operation: operation, "symbol must be a row of `apus kernels list`", found: symbol,
      remedy: alike.isEmpty ? nil : "Did you mean \(alike.joined(separator: ", "))?")
  }

  /// The target to show one row for: the one asked for, else the newest.
  func target(of row: any ShippedKernel, operation: String) throws(ArgumentError) -> Target {
    guard let chosen = target ?? row.targets.last, row.targets.contains(chosen) else {
      throw ArgumentError(
        operation: operation, "target must be one that \(row.symbol) is for",
        found: target?.description ?? "none",
        remedy: "It is for \(row.targets.map(\.description).joined(separator: ", ")).")
    }
    return chosen
  }
}

extension KernelFamily: ExpressibleByArgument {
  /// All names, for help.
  fileprivate static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

extension Target: ExpressibleByArgument {
  /// `sm_80`, `sm_86`, `sm_89` or `sm_90a`.
  public init?(argument: String) { self.init(argument.lowercased()) }

  /// The names that help lists.
  public static var allValueStrings: [String] { allCases.map(\.description) }

  /// All names, for help.
  fileprivate static var names: String {
    allCases.map(\.description).joined(separator: ", ")
  }
}
