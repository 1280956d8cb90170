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

  @Flag(help: "Add the times of construction and of PTX printing, the least of seven.")
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
  /// What a kernel's IR and PTX should take at most.
  static let constructionLimit = 5e-3

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
    /// Of the target that takes longest, seconds of construction, passes and verifier; nil unless timed.
    var buildSeconds: Double? { slowest?.buildSeconds }
    /// Of the same target, seconds of printing; nil unless timed.
    var printSeconds: Double? { slowest?.printSeconds }

    private var slowest: TargetNeeds? {
      targets.max { ($0.totalSeconds ?? 0) < ($1.totalSeconds ?? 0) }
    }

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
          var needs = TargetNeeds(target, version: printed.ir.ptxVersion(for: target))
          if timing { try needs.time(kernel, target) }
          self.targets.append(needs)
        } catch {
          problems.append("\(symbol) \(target): \(error)")
        }
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
    /// Processor seconds of construction, passes and verifier, and of printing, in the quickest of
    /// several runs; nil unless timed.
    var buildSeconds: Double?
    var printSeconds: Double?

    /// Both together.
    var totalSeconds: Double? {
      buildSeconds.flatMap { build in printSeconds.map { build + $0 } }
    }

    /// Builds and prints the kernel seven times.
    mutating func time(_ kernel: any ShippedKernel, _ target: Target) throws {
      for _ in 0..<7 {
        let run = try PrintedKernel(kernel, target: target)
        guard run.buildSeconds + run.printSeconds < totalSeconds ?? .infinity else { continue }
        (buildSeconds, printSeconds) = (run.buildSeconds, run.printSeconds)
      }
    }

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
    return ([table.text(), "\(rows.count) kernels"] + timing + rows.flatMap(\.problems))
      .joined(separator: "\n")
  }

  /// How many kernels and targets take longer than `constructionLimit`, and which takes longest.
  private var timing: [String] {
    let timed = rows.flatMap { row in
      row.targets.compactMap { needs in needs.totalSeconds.map { (row.symbol, needs.target, $0) } }
    }
    guard let longest = timed.max(by: { $0.2 < $1.2 }) else { return [] }
    let limit = KernelListReport.constructionLimit
    return [
      "\(timed.count) kernels and targets: construction and printing take at most "
        + "\(Format.seconds(longest.2)) (\(longest.0) on \(longest.1)), "
        + "\(timed.count { $0.2 > limit }) of them more than \(Format.seconds(limit))"
    ]
  }
}
