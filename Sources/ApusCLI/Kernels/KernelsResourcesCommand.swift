import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser
import Foundation

/// `apus kernels resources`.
struct KernelsResourcesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resources",
    abstract: "Registers, spills, shared memory and occupancy, predicted and assembled.",
    discussion: """
      The prediction follows from the IR: registers by budgets of roles, else by accumulators + \
      operands + \(RegisterEstimate.reserve) of products or by the values that live at once, \
      whichever is more; shared bytes = tiles × stages and barriers. Beside it stands what \
      ptxas (--ptxas, APUS_PTXAS or PATH) makes of the kernel; without ptxas only the prediction is \
      printed. A kernel that does not assemble, spills, has warnings of ptxas or exceeds its target \
      makes the exit code 1.
      """)

  @Argument(help: "Symbols of `apus kernels list`; all rows for none.")
  var symbols: [String] = []

  @OptionGroup var selection: CatalogueOptions

  @Option(help: "The assembler to use.")
  var ptxas: String?

  @Flag(help: "Add the times of construction and of PTX printing.")
  var timing = false

  @Option(
    help: "Compare hashes and registers with a file that --record wrote; changes are failures.")
  var recorded: String?

  @Option(help: "Write hashes of the PTX and registers of every row to a file.")
  var record: String?

  @Flag(help: "Print JSON.")
  var json = false

  mutating func validate() throws {
    if record != nil, !symbols.isEmpty || selection.family != nil || selection.target != nil {
      throw ValidationError("--record is for all rows and targets.")
    }
  }

  func run() throws {
    let rows = try selection.rows(symbols, operation: "apus kernels resources")
    let assembler = ptxas.map { Ptxas(path: $0) } ?? Ptxas.find()
    if assembler == nil {
      Output.note("apus kernels resources: SKIP ptxas: none in --ptxas, APUS_PTXAS or PATH")
    }
    let newest = try assembler?.newestVersion()
    let jobs = rows.flatMap { row in selection.targets(of: row).map { (row, $0) } }
    let entries = try concurrentMap(jobs) { row, target in
      try KernelResourcesReport.Row(row, target: target, assembler: assembler, newest: newest)
    }
    let report = KernelResourcesReport(
      ptxas: try assembler?.release(), showsTiming: timing, rows: entries)
    if json { try Output.json(report) } else { print(report.text) }
    var isFailed = report.rows.contains { !$0.problems.isEmpty }
    let current = KernelRecording(report)
    if let record { try Data(current.text.utf8).write(to: URL(filePath: record), options: .atomic) }
    if let recorded {
      let text = try String(contentsOf: URL(filePath: recorded), encoding: .utf8)
      let names = KernelCatalog.all.flatMap { row in row.targets.map { "\(row.symbol) \($0)" } }
      let comparison = current.compared(with: KernelRecording(text), catalogue: Set(names))
      comparison.notes.forEach { Output.note("apus kernels resources: \($0)") }
      comparison.changes.forEach { Output.note("apus kernels resources: changed: \($0)") }
      if !comparison.changes.isEmpty { isFailed = true }
    }
    if isFailed { throw ExitCode.failure }
  }
}
