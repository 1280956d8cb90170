import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusPTX
import ArgumentParser
import Foundation

/// `apus kernels print`.
struct KernelsPrintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "print",
    abstract: "The PTX of a kernel, or of all kernels into a folder.",
    discussion: """
      The text is what a driver receives; --locations adds the Swift line of each instruction. With \
      --output, every row and target becomes a file SYMBOL.TARGET.ptx: Scripts/ptx-diff compares two \
      such folders.
      """)

  @Argument(help: "A symbol of `apus kernels list`.")
  var symbol: String?

  @OptionGroup var selection: CatalogueOptions

  @Flag(help: "End lines with the Swift file and line that emitted them.")
  var locations = false

  @Option(help: "Write a file per row and target into this folder.")
  var output: String?

  mutating func validate() throws {
    guard (symbol == nil) != (output == nil) else {
      throw ValidationError("Pass a symbol, or --output for all rows.")
    }
  }

  func run() throws {
    let operation = "apus kernels print"
    if let symbol {
      let row = try CatalogueOptions.row(symbol, operation)
      let target = try selection.target(of: row, operation: operation)
      print(try Self.text(row, target: target, locations: locations), terminator: "")
      return
    }
    guard let output else { return }
    let folder = URL(filePath: output)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    var count = 0
    var isFailed = false
    for row in try selection.rows(operation: operation) {
      for target in selection.targets(of: row) {
        let text: String
        do {
          text = try Self.text(row, target: target, locations: locations)
        } catch {
          Output.note("\(operation): \(row.symbol) \(target): \(error)")
          isFailed = true
          continue
        }
        try Data(text.utf8).write(to: folder.appending(path: "\(row.symbol).\(target).ptx"))
        count += 1
      }
    }
    Output.note("\(operation): \(count) files in \(output)")
    if isFailed { throw ExitCode.failure }
  }

  /// The PTX of a row on a target.
  static func text(
    _ row: any ShippedKernel, target: Target, locations: Bool
  ) throws -> String {
    let ir = try row.build(for: target)
    return try PTXPrinter(showsLocations: locations).print(
      ModuleIR(kernels: [ir]), target: target)
  }
}

/// `apus kernels ir`.
struct KernelsIRCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ir",
    abstract: "The typed IR of a kernel as text.",
    discussion: """
      The IR after all passes: what the verifier has accepted, the printer prints and the simulator \
      runs. Documentation/IR.md explains the text.
      """)

  @Argument(help: "A symbol of `apus kernels list`.")
  var symbol: String

  @OptionGroup var selection: CatalogueOptions

  @Flag(help: "End lines with the Swift file and line that emitted them.")
  var locations = false

  func run() throws {
    let operation = "apus kernels ir"
    let row = try CatalogueOptions.row(symbol, operation)
    let target = try selection.target(of: row, operation: operation)
    let ir = try row.build(for: target)
    print(TextPrinter(showsLocations: locations).print(ir), terminator: "")
  }
}
