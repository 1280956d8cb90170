import ApusAssembler
import ApusCore
import ApusDSL
import ApusKernels
import ArgumentParser
import Foundation

/// `apus kernels pack`.
struct KernelsPackCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pack",
    abstract: "Assemble kernels into a bundle for machines without a compiler.",
    discussion: """
      The bundle holds machine code made by the ptxas that you name, beside the digest of the PTX \
      that it was made of. Apus takes code from it whose digest fits its own kernels, and compiles \
      the rest with the driver. The format is documented in Sources/ApusKernels/Pack.
      """)

  @Option(help: "The assembler to use (default: APUS_PTXAS, then PATH).")
  var ptxas: String?

  @OptionGroup var selection: CatalogueOptions

  @Option(help: "The file to write.")
  var output: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let assembler = try Ptxas.require(path: ptxas)
    let jobs = try selection.rows(operation: "apus kernels pack").flatMap { row in
      selection.targets(of: row).map { (row, $0) }
    }
    let sources = try concurrentMap(jobs) { row, target in
      try Self.source(PrintedKernel(row, target: target), assembler)
    }
    let name = "ptxas \(try assembler.release())"
    let bytes = try CubinPack.write(sources, assembler: name)
    // Read back before anyone relies on it.
    _ = try CubinPack(bytes: bytes)
    try Data(bytes).write(to: URL(filePath: output), options: .atomic)
    let report = PackReport(
      file: output, assembler: name, kernelCount: sources.count, byteCount: bytes.count)
    if json { try Output.json(report) } else { print(report.text) }
  }

  private static func source(
    _ printed: PrintedKernel, _ assembler: Ptxas
  ) throws -> CubinPack.Source {
    let outcome = try assembler.assemble(
      printed.ptx, architecture: "\(printed.target)", keepsCode: true)
    guard outcome.status == 0 else {
      throw AssemblerError.refused(
        path: assembler.path, status: outcome.status, log: "\(printed.name)\n\(outcome.log)")
    }
    return CubinPack.Source(
      symbol: printed.kernel.symbol, target: printed.target,
      ptxDigest: SHA256Digest(of: printed.ptx), code: outcome.code)
  }
}

/// What `apus kernels pack` prints.
struct PackReport: Codable, Sendable {
  var file: String
  var assembler: String
  var kernelCount: Int
  var byteCount: Int

  /// The line for people.
  var text: String {
    "\(file): \(kernelCount) kernels, \(Format.bytes(Double(byteCount))), \(assembler)"
  }
}
