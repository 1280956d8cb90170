import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import ApusPTX
import ApusThreads
import Foundation
import Testing

/// A row of the catalogue on one of its targets: its IR, its PTX and what the assembler makes of it.
struct CatalogRow: Sendable {
  /// What the assembler says, once; nil where there is none or where it is older than the PTX.
  enum Assembly: Sendable {
    case none(reason: String)
    case outcome(PtxasOutcome)
  }

  let kernel: any ShippedKernel
  let target: Target
  let ir: KernelIR
  let ptx: String
  let assembly: Assembly

  var symbol: String { kernel.symbol }

  /// The assembler's outcome, if it ran.
  var outcome: PtxasOutcome? {
    if case .outcome(let outcome) = assembly { outcome } else { nil }
  }

  /// Registers and shared bytes as assembled.
  var usage: PtxasOutcome.Usage? { outcome?.usage[symbol] }

  private init(_ kernel: any ShippedKernel, _ target: Target, _ ptxas: Assembler?) throws {
    self.kernel = kernel
    self.target = target
    ir = try kernel.build(for: target)
    ptx = try PTXPrinter().print(ModuleIR(kernels: [ir]), target: target)
    let version = ir.ptxVersion(for: target)
    guard let ptxas else {
      assembly = .none(reason: "no ptxas")
      return
    }
    guard version <= ptxas.newest else {
      assembly = .none(reason: "PTX \(version) is newer than the assembler's \(ptxas.newest)")
      return
    }
    assembly = .outcome(try ptxas.tool.assemble(ptx, architecture: "\(target)"))
  }

  /// An assembler that answered.
  struct Assembler: Sendable {
    let tool: Ptxas
    let release: String
    let newest: PTXVersion
  }

  /// The assembler, or nil where there is none. A tool that is named and does not work is an error.
  static let assembler: Result<Assembler?, any Error> = Result {
    guard let tool = Ptxas.find() else {
      print("SKIP ptxas: none in APUS_PTXAS or PATH; Scripts/ptxas-install")
      return nil
    }
    let release = try tool.release()
    return Assembler(
      tool: tool, release: release, newest: try tool.newestVersion() ?? PTXVersion(0, 0))
  }

  /// The rows of the default run: the first, the middle and the last of each family, on their oldest
  /// and newest target; with `APUS_ALL_ROWS=1` every row on every target, which `Scripts/test` checks
  /// with `apus kernels resources` instead. Made once, on all cores.
  static let all: Result<[CatalogRow], any Error> = Result {
    let assembler = try Self.assembler.get()
    let jobs = chosen
    let threads = ProcessInfo.processInfo.activeProcessorCount
    let rows = concurrentMap(jobs, threadCount: threads) { kernel, target in
      Result { try CatalogRow(kernel, target, assembler) }
    }
    return zip(jobs, rows).compactMap { job, row in
      do {
        return try row.get()
      } catch {
        Issue.record("\(job.0.symbol) \(job.1): \(error)")
        return nil
      }
    }
  }

  private static var chosen: [(any ShippedKernel, Target)] {
    let rows = KernelCatalog.all
    if ProcessInfo.processInfo.environment["APUS_ALL_ROWS"] == "1" {
      return rows.flatMap { row in row.targets.map { (row, $0) } }
    }
    return KernelFamily.allCases.flatMap { family in
      let own = rows.filter { $0.family == family }
      let places = own.isEmpty ? [] : Set([0, own.count / 2, own.count - 1]).sorted()
      return places.flatMap { place in
        Set([own[place].targets.first, own[place].targets.last].compactMap(\.self)).sorted()
          .map { (own[place], $0) }
      }
    }
  }
}
