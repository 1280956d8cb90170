import ApusAssembler
import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser
import Foundation

/// `apus kernels sass`.
struct KernelsSASSCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sass",
    abstract: "The machine code of a kernel, or what it does while products are in flight.",
    discussion: """
      Needs ptxas (--ptxas, APUS_PTXAS or PATH) and nvdisasm (APUS_NVDISASM or PATH). --check \
      follows every path of kernels with warpgroup products: no accumulator is touched and no \
      operand register is written before the wait of its product; it prints where the exponentials \
      of softmax lie. Findings make the exit code 1. --normalised leaves out addresses and register \
      numbers: Scripts/sass-diff compares such texts.
      """)

  @Argument(help: "Symbols of `apus kernels list`; all rows for none.")
  var symbols: [String] = []

  @OptionGroup var selection: CatalogueOptions

  @Option(help: "The assembler to use.")
  var ptxas: String?

  @Flag(help: "Check kernels with warpgroup products instead of printing code.")
  var check = false

  @Flag(help: "Leave out addresses and register numbers.")
  var normalised = false

  @Option(help: "Write a file SYMBOL.TARGET.sass per row and target into this folder.")
  var output: String?

  @Flag(help: "Print the checks as JSON.")
  var json = false

  mutating func validate() throws {
    if !check, output == nil, symbols.count != 1 {
      throw ValidationError("Pass one symbol, or --output, or --check.")
    }
    if json, !check { throw ValidationError("--json needs --check.") }
  }

  func run() throws {
    let assembler = try Ptxas.require(path: ptxas)
    let disassembler = try Nvdisasm.require()
    let rows = try selection.rows(symbols, operation: "apus kernels sass")
    let jobs = try rows.flatMap { row in
      // A single printed kernel is that of one target.
      let isAll = check || output != nil
      let targets =
        isAll
        ? selection.targets(of: row)
        : [try selection.target(of: row, operation: "apus kernels sass")]
      return targets.map { (row, $0) }
    }
    let functions = try concurrentMap(jobs) { row, target in
      try Self.function(of: PrintedKernel(row, target: target), assembler, disassembler)
    }
    if check {
      let reports = zip(jobs, functions).map { job, function in
        SASSReport(function, target: job.1)
      }.filter { $0.products > 0 }
      if json {
        try Output.json(reports)
      } else {
        print(SASSReport.text(reports, of: functions.count))
      }
      if reports.contains(where: { !$0.findings.isEmpty }) { throw ExitCode.failure }
      return
    }
    for (job, function) in zip(jobs, functions) {
      let text =
        normalised
        ? function.normalised
        : function.instructions.map { "\(String($0.address, radix: 16)): \($0.text)\n" }.joined()
      if let output {
        let folder = URL(filePath: output)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: folder.appending(path: "\(job.0.symbol).\(job.1).sass"))
      } else {
        print(text, terminator: "")
      }
    }
    if let output { Output.note("apus kernels sass: \(functions.count) files in \(output)") }
  }

  /// The machine code of a printed kernel.
  static func function(
    of printed: PrintedKernel, _ assembler: Ptxas, _ disassembler: Nvdisasm
  ) throws -> SASSFunction {
    let outcome = try assembler.assemble(
      printed.ptx, architecture: "\(printed.target)", keepsCode: true)
    guard outcome.status == 0 else {
      throw AssemblerError.refused(
        path: assembler.path, status: outcome.status, log: "\(printed.name)\n\(outcome.log)")
    }
    let text = try disassembler.disassemble(outcome.code)
    guard let function = SASSFunction.parse(text).first(where: { $0.name == printed.kernel.symbol })
    else {
      throw AssemblerError.tool(
        path: disassembler.path, reason: "the text has no function \(printed.kernel.symbol)")
    }
    return function
  }
}

/// What the check of one kernel found.
struct SASSReport: Codable, Sendable, Hashable {
  var symbol: String
  var target: String
  /// Product instructions, groups and waits of the machine code.
  var products: Int
  var groups: Int
  var waits: Int
  /// Exponentials, and those that run while products are in flight.
  var exponentials: Int
  var overlapped: Int
  /// Registers used while a product has them.
  var findings: [String]
  /// Groups, waits and exponentials in the order of addresses.
  var timeline: String

  init(_ function: SASSFunction, target: Target) {
    let check = WarpgroupCheck(function)
    let timeline = ProductTimeline(function, check)
    symbol = function.name
    self.target = target.description
    products = check.productCount
    groups = check.groupCount
    waits = check.waitCount
    exponentials = timeline.exponentials
    overlapped = timeline.overlapped
    findings = check.findings.map(\.description)
    self.timeline = timeline.description
  }

  /// The reports one after another, then one line in all.
  static func text(_ reports: [SASSReport], of kernelCount: Int) -> String {
    var lines: [String] = []
    for report in reports {
      lines.append(
        "\(report.symbol) \(report.target): \(report.products) products in \(report.groups) groups, "
          + "\(report.waits) waits, \(report.findings.count) findings")
      lines.append(report.timeline)
      lines += report.findings.map { "  \($0)" }
    }
    let bad = reports.filter { !$0.findings.isEmpty }.count
    lines.append(
      "\(kernelCount) kernels, \(reports.count) with warpgroup products, \(bad) with findings")
    return lines.joined(separator: "\n")
  }
}
