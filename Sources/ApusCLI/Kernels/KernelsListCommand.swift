import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser

/// `apus kernels list`.
struct KernelsListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Every shipped configuration with its launch, PTX version and minimum driver.",
    discussion: """
      PTX versions and drivers are given for each target in the order of the targets. A driver \
      compiles PTX up to its own version, so the branch named is the oldest that runs the kernel.
      """)

  @OptionGroup var selection: CatalogueOptions

  @Flag(help: "Add the times of construction and of PTX printing, the least of five.")
  var timing = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let rows = try selection.rows(operation: "apus kernels list")
    let report = KernelListReport(
      rows: try rows.map { row in
        try KernelListReport.Row(row, targets: selection.targets(of: row), timing: timing)
      })
    if json { try Output.json(report) } else { print(report.text) }
    if report.rows.contains(where: { !$0.problems.isEmpty }) { throw ExitCode.failure }
  }
}

/// What `apus kernels list` prints.
struct KernelListReport: Codable, Sendable {
  /// The rows, grouped by family.
  var rows: [Row]

  /// One shipped configuration.
  struct Row: Codable, Sendable, Hashable {
    /// Name of the kernel's entry.
    var symbol: String
    /// What it is for.
    var family: String
    /// What each target needs, the oldest first.
    var targets: [TargetNeeds]
    /// Threads of a block.
    var threads: Int
    /// Blocks of a cluster.
    var clusterSize: Int
    /// Dynamic shared memory of a block.
    var sharedBytes: Int
    /// Why a target has no code, a line each; empty for a row that may ship.
    var problems: [String] = []
    /// Seconds of construction, passes and verifier; nil unless timed.
    var buildSeconds: Double?
    /// Seconds of legalisation and printing for the newest target; nil unless timed.
    var printSeconds: Double?

    init(_ kernel: any ShippedKernel, targets: [Target], timing: Bool) throws {
      symbol = kernel.symbol
      family = kernel.family.rawValue
      threads = kernel.launch.threads
      clusterSize = kernel.launch.clusterSize
      // One kernel may have another body per target; shared memory is that of the greatest.
      sharedBytes = 0
      self.targets = []
      for target in targets {
        do {
          let printed = try PrintedKernel(kernel, target: target)
          sharedBytes = max(sharedBytes, printed.ir.sharedByteCount)
          self.targets.append(TargetNeeds(target, version: printed.ir.ptxVersion(for: target)))
        } catch {
          problems.append("\(symbol) \(target): \(error)")
        }
      }
      if timing, problems.isEmpty, let newest = targets.last {
        let runs = try (0..<5).map { _ in try PrintedKernel(kernel, target: newest) }
        buildSeconds = runs.map(\.buildSeconds).min()
        printSeconds = runs.map(\.printSeconds).min()
      }
    }
  }

  /// What a row needs on a target.
  struct TargetNeeds: Codable, Sendable, Hashable {
    /// `sm_90a`.
    var target: String
    /// The lowest PTX version with all its instructions.
    var ptxVersion: String
    /// The oldest driver branch that compiles it.
    var minimumDriver: Int?

    init(_ target: Target, version: PTXVersion) {
      self.target = target.description
      ptxVersion = version.description
      minimumDriver = version.minimumDriver
    }
  }

  /// The table for people.
  var text: String {
    let isTimed = rows.contains { $0.buildSeconds != nil }
    var columns: [(title: String, alignment: TextTable.Alignment)] = [
      ("symbol", .left), ("family", .left), ("targets", .left), ("threads", .right),
      ("cluster", .right), ("shared", .right), ("PTX", .left), ("driver from", .left),
    ]
    if isTimed { columns += [("build", .right), ("print", .right)] }
    var table = TextTable(columns)
    for row in rows {
      table.add([
        row.symbol, row.family, row.targets.map(\.target).joined(separator: " "),
        "\(row.threads)", "\(row.clusterSize)", Format.grouped(row.sharedBytes),
        row.targets.map(\.ptxVersion).joined(separator: " "),
        row.targets.map { $0.minimumDriver.map { "r\($0)" } ?? "?" }.joined(separator: " "),
        row.buildSeconds.map(Format.seconds) ?? "", row.printSeconds.map(Format.seconds) ?? "",
      ])
    }
    return ([table.text(), "\(rows.count) kernels"] + rows.flatMap(\.problems))
      .joined(separator: "\n")
  }
}
