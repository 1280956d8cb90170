import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels

/// What `apus kernels resources` prints.
struct KernelResourcesReport: Codable, Sendable {
  /// CUDA release of the assembler; nil when there is none.
  var ptxas: String?
  /// Whether the table has times.
  var showsTiming = false
  /// A row per kernel and target.
  var rows: [Row]

  /// One kernel on one target.
  struct Row: Codable, Sendable, Hashable {
    var symbol: String
    var target: String
    var threads: Int
    /// Registers of each thread at entry that the formula predicts.
    var predictedRegisters: Int
    /// What the prediction follows from: `budgets`, `fragments` or `liveValues`.
    var basis: String
    /// Registers of each thread at entry; nil without an assembler.
    var registers: Int?
    /// Bytes of spill stores and loads.
    var spillBytes: Int?
    /// Local memory of each thread.
    var stackBytes: Int?
    /// Static and dynamic shared memory of a block.
    var sharedBytes: Int
    /// Shared memory that a block can have.
    var sharedLimit: Int
    /// Resident blocks of a multiprocessor, by assembled registers where there are any.
    var blocks: Int
    /// Resident warps of all that the target holds.
    var occupancy: Double
    /// What another block would exceed.
    var limit: String
    /// Register need of each role: `consumer: 192 accumulators + …`.
    var roles: [String]
    var buildSeconds: Double
    var printSeconds: Double
    /// The first 16 digits of the SHA-256 of the PTX; empty for a row that does not build.
    var ptxDigest: String
    /// Why the assembler was not asked; nil if it was, or if there is none.
    var skipped: String?
    /// Why the row must not ship; empty for a good one.
    var problems: [String]

    /// Builds and assembles a row; one that cannot be built is a row with a problem.
    init(
      _ kernel: any ShippedKernel, target: Target, assembler: Ptxas?, newest: PTXVersion?
    ) throws {
      let printed: PrintedKernel
      do {
        printed = try PrintedKernel(kernel, target: target)
      } catch {
        self.init(kernel, target: target, problem: "does not build: \(error)")
        return
      }
      try self.init(printed, assembler: assembler, newest: newest)
    }

    /// A row without code.
    private init(_ kernel: any ShippedKernel, target: Target, problem: String) {
      symbol = kernel.symbol
      self.target = target.description
      threads = kernel.launch.threads
      predictedRegisters = 0
      basis = "none"
      sharedBytes = 0
      sharedLimit = target.maxSharedBytesPerBlock
      blocks = 0
      occupancy = 0
      limit = ""
      roles = []
      buildSeconds = 0
      printSeconds = 0
      ptxDigest = ""
      problems = [problem]
    }

    /// Assembles a printed kernel, if there is an assembler that knows its PTX version.
    init(_ printed: PrintedKernel, assembler: Ptxas?, newest: PTXVersion?) throws {
      let version = printed.ir.ptxVersion(for: printed.target)
      guard let newest, version > newest else {
        let outcome = try assembler?.assemble(printed.ptx, architecture: "\(printed.target)")
        self.init(printed, outcome: outcome)
        return
      }
      self.init(printed, outcome: nil)
      skipped = "needs PTX \(version), ptxas knows \(newest)"
    }

    /// The row of a printed kernel and what the assembler said of it.
    init(_ printed: PrintedKernel, outcome: PtxasOutcome?) {
      let prediction = KernelResources.predicted(for: printed.ir, target: printed.target)
      let usage = outcome?.usage[printed.kernel.symbol]
      symbol = printed.kernel.symbol
      target = printed.target.description
      threads = prediction.threads
      predictedRegisters = prediction.registers
      basis = prediction.basis.rawValue
      registers = usage?.registers
      spillBytes = usage?.spillBytes
      stackBytes = usage?.stackBytes
      sharedBytes = prediction.sharedBytes + (usage?.sharedBytes ?? 0)
      sharedLimit = printed.target.maxSharedBytesPerBlock
      let occupancy = Occupancy(
        target: printed.target, threads: prediction.threads,
        registers: usage?.registers ?? prediction.registers, sharedBytes: sharedBytes)
      blocks = occupancy.blocks
      self.occupancy = occupancy.fraction
      limit = occupancy.limit.description
      roles = prediction.roles.map(\.description)
      buildSeconds = printed.buildSeconds
      printSeconds = printed.printSeconds
      ptxDigest = printed.shortDigest
      problems = []
      problems = Self.problems(of: self, printed, outcome)
    }

    private static func problems(
      of row: Row, _ printed: PrintedKernel, _ outcome: PtxasOutcome?
    ) -> [String] {
      var problems: [String] = []
      if row.sharedBytes > row.sharedLimit {
        problems.append("shared memory exceeds \(row.sharedLimit) bytes")
      }
      let needed = printed.ir.launch.minBlocksPerMultiprocessor
      if row.blocks < needed { problems.append("fewer than \(needed) blocks fit") }
      guard let outcome else { return problems }
      guard outcome.status == 0, let spills = row.spillBytes, let stack = row.stackBytes else {
        return problems + ["does not assemble: \(outcome.log)"]
      }
      if spills > 0 { problems.append("spills \(spills) bytes") }
      if stack > 0 { problems.append("\(stack) bytes of local memory") }
      return problems + outcome.warnings
    }
  }

  private static let words = [
    KernelResources.Basis.budgets.rawValue: "budgets",
    KernelResources.Basis.fragments.rawValue: "fragments",
    KernelResources.Basis.liveValues.rawValue: "live values",
  ]

  /// The table for people, then what is wrong.
  var text: String {
    var columns: [(title: String, alignment: TextTable.Alignment)] = [
      ("symbol", .left), ("target", .left), ("threads", .right), ("registers", .right),
      ("predicted", .right), ("by", .left), ("spills", .right), ("shared", .right),
      ("blocks/SM", .right),
      ("occupancy", .right), ("limit", .left),
    ]
    if showsTiming { columns += [("build", .right), ("print", .right)] }
    var table = TextTable(columns)
    for row in rows {
      table.add([
        row.symbol, row.target, "\(row.threads)", row.registers.map { "\($0)" } ?? "–",
        "\(row.predictedRegisters)", Self.words[row.basis] ?? row.basis,
        row.spillBytes.map { "\($0)" } ?? "–", Format.grouped(row.sharedBytes), "\(row.blocks)",
        Format.percent(row.occupancy), row.limit, Format.seconds(row.buildSeconds),
        Format.seconds(row.printSeconds),
      ])
    }
    let bad = rows.filter { !$0.problems.isEmpty }
    let skipped = rows.filter { $0.skipped != nil }
    let assembler = ptxas.map { "ptxas \($0)" } ?? "no ptxas, predictions only"
    var lines = [table.text(), "\(rows.count) rows, \(assembler), \(bad.count) with problems"]
    lines += skipped.map { "SKIP \($0.symbol) \($0.target): \($0.skipped ?? "")" }
    for row in bad {
      lines += row.problems.map { "\(row.symbol) \(row.target): \($0)" }
    }
    return lines.joined(separator: "\n")
  }
}
