import ApusAssembler
import ApusIR
import ApusPTX
import Foundation
import Testing

/// The assembler's word on every op: each spelling is legal on each target that is said to have it,
/// in the PTX version that is said to be the first, and in no version or target before.
@Suite(.enabled(if: Ptxas.isAvailable)) struct PtxasSweepTests {
  private static let versions: [PTXVersion] =
    (0...8).map { PTXVersion(7, $0) } + (0...8).map { PTXVersion(8, $0) }

  /// Variants of a group that a target has, by the version that they need, up to the newest one
  /// that the assembler knows.
  private func buckets(
    _ group: String, _ target: Target, _ ptxas: Ptxas
  ) throws -> [PTXVersion: [(index: Int, variant: Variant)]] {
    let variants = EveryOp.groups.first { $0.name == group }?.variants ?? []
    let present = variants.enumerated().filter { $0.element.requirements.target <= target }
    let buckets = Dictionary(
      grouping: present.map { (index: $0.offset, variant: $0.element) },
      by: { $0.variant.version(on: target) })
    let newest = try #require(try ptxas.newestVersion())
    for version in buckets.keys.sorted() where version > newest {
      print("SKIP \(group) \(target): PTX \(version) is newer than the assembler's \(newest)")
    }
    return buckets.filter { $0.key <= newest }
  }

  /// The variants in kernels of at most 64: assemblers take time quadratic in a kernel's length.
  private func text(
    _ variants: [(index: Int, variant: Variant)], _ target: Target, constants: Bool = false
  ) throws -> String {
    let kernels = stride(from: 0, to: variants.count, by: 64).map { start in
      Variant.kernel(
        Array(variants[start..<min(start + 64, variants.count)]), symbol: "sweep_\(start)",
        constants: constants)
    }
    return try PTXPrinter(showsLocations: true).print(ModuleIR(kernels: kernels), target: target)
  }

  /// `add.rn.f32 …  // K.swift:7: error`: the offending lines of a module, at most ten.
  private func report(_ outcome: PtxasOutcome, _ text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let found = outcome.errors.prefix(10).map { error in
      "\(lines.indices.contains(error.line - 1) ? lines[error.line - 1] : "")\n    \(error.text)"
    }
    return found.isEmpty ? outcome.log : found.joined(separator: "\n")
  }

  @Test(arguments: EveryOp.groups.map(\.name), Target.allCases)
  func `every op assembles in the version it states`(group: String, target: Target) throws {
    let ptxas = try #require(Ptxas.found)
    for (version, variants) in try buckets(group, target, ptxas) {
      for constants in [false, true] {
        let text = try text(variants, target, constants: constants)
        #expect(text.hasPrefix(".version \(version)\n.target \(target)\n"))
        let outcome = try ptxas.assemble(text, architecture: "\(target)")
        #expect(outcome.status == 0, "\(group) \(target)\n\(report(outcome, text))")
      }
    }
  }

  @Test(arguments: EveryOp.groups.map(\.name), Target.allCases)
  func `no op assembles in the version before`(group: String, target: Target) throws {
    let ptxas = try #require(Ptxas.found)
    for (version, variants) in try buckets(group, target, ptxas)
    where version > target.minimumPTXVersion {
      let previous = try #require(Self.versions.last { $0 < version })
      let text = try text(variants, target)
      let older = text.replacing(".version \(version)", with: ".version \(previous)")
      let outcome = try ptxas.assemble(older, architecture: "\(target)")
      let accepted = accepted(variants.filter { !isLenient($0.variant.op) }, outcome, older)
      #expect(accepted.isEmpty, "\(group) \(target): PTX \(previous) has \(accepted)")
    }
  }

  @Test(arguments: EveryOp.groups.map(\.name))
  func `no op assembles for the target before`(group: String) throws {
    let ptxas = try #require(Ptxas.found)
    for (target, previous) in [(Target.sm90a, Target.sm89), (.sm89, .sm86), (.sm86, .sm80)] {
      let variants = try buckets(group, target, ptxas).values.flatMap { $0 }
        .filter { $0.variant.requirements.target == target }
      if variants.isEmpty { continue }
      let text = try text(variants, target)
      let older = text.replacing(".target \(target)", with: ".target \(previous)")
      let outcome = try ptxas.assemble(older, architecture: "\(previous)")
      let accepted = accepted(variants, outcome, older)
      #expect(accepted.isEmpty, "\(group): \(previous) has \(accepted)")
    }
  }

  /// Ops whose first version the assembler does not enforce: the manual gives 7.1 for the parity
  /// form of `mbarrier.test_wait` and for the sink of `mbarrier.arrive` (PTX § mbarrier).
  private func isLenient(_ op: Op) -> Bool {
    switch op {
    case .synchronisation(.mbarrierWait), .synchronisation(.mbarrierTest),
      .synchronisation(.mbarrierArrive):
      true
    default: false
    }
  }

  /// Texts of variants that no error names.
  private func accepted(
    _ variants: [(index: Int, variant: Variant)], _ outcome: PtxasOutcome, _ text: String
  ) -> [String] {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    func source(_ line: Substring) -> Int? {
      line.range(of: "K.swift:").flatMap { Int(line[$0.upperBound...]) }
    }
    let refused = Set(
      outcome.errors.compactMap { lines.indices.contains($0.line - 1) ? lines[$0.line - 1] : nil }
        .compactMap(source))
    return variants.filter { !refused.contains($0.index) }.map { index, variant in
      "\(variant.op.mnemonic)(\(variant.operands.prefix(6).map(\.description).joined(separator: ",")))"
    }
  }
}
