import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import ApusPTX
import Foundation
import Testing

/// The catalogue's rows of stream, merge, append, rope, packbits and general attention.
@Suite struct OperatorCatalogTests {
  private static let rows = KernelCatalog.all.filter {
    [.stream, .merge, .append, .rope, .packBits, .general].contains($0.family)
  }

  private static let ptxas: Ptxas? = {
    let found = Ptxas.find()
    if found == nil { print("SKIP ptxas of operator kernels: no ptxas in APUS_PTXAS or PATH") }
    return found
  }()

  @Test func `every row is built and verified for every target`() throws {
    #expect(!Self.rows.isEmpty)
    for row in Self.rows {
      for target in row.targets {
        #expect(throws: Never.self, "\(row.symbol) on \(target)") {
          try row.build(for: target)
        }
      }
    }
  }

  @Test(.enabled(if: ptxas != nil), arguments: Target.allCases)
  func `every row is assembled without spills`(_ target: Target) throws {
    guard let ptxas = Self.ptxas else { return }
    // General attention is large: the oldest and the newest target stand for those between.
    let isEnd = target == .sm80 || target == .sm90a
    let rows = Self.rows.filter {
      $0.targets.contains(target) && ($0.family != .general || isEnd)
    }
    let module = ModuleIR(kernels: try rows.map { try $0.build(for: target) })
    let outcome = try ptxas.assemble(
      try PTXPrinter().print(module, target: target), architecture: "\(target)")
    #expect(outcome.status == 0, "\(outcome.log)")
    #expect(outcome.warnings == [])
    let usage = outcome.usage
    #expect(usage.count == rows.count)
    for (symbol, usage) in usage.sorted(by: { $0.key < $1.key }) {
      #expect(usage.spillBytes == 0, "\(symbol) on \(target)")
      if ProcessInfo.processInfo.environment["APUS_VERBOSE"] == "1" {
        print(target, symbol, usage.registers, "registers", usage.sharedBytes, "bytes shared")
      }
    }
  }

  /// `Golden/<symbol>.<target>.ptx`; recorded anew with APUS_RECORD=1.
  @Test(arguments: [
    ("sm80_stream_r2w1_d4", Target.sm80),
    ("sm80_merge_pair_bf16_bf16_base2_v8_l8", .sm80),
    ("sm80_merge_many_f32_bf16_base2_v4_l16", .sm90a),
    ("sm80_append_bf16_bf16_copy_copy_resolved_v8_l8_r2x2", .sm90a),
    ("sm80_append_bf16_e4m3_dynamic_dynamic_resolved_v8_l8_r2x2", .sm80),
    ("sm80_rope_bf16_half_computed_v8_l8", .sm90a),
    ("sm80_packbits_little", .sm80),
    ("sm80_general_merge_plain_k4", .sm90a),
  ])
  func `a telling row prints as its golden text`(_ symbol: String, _ target: Target) throws {
    let row = try #require(KernelCatalog.kernel(named: symbol))
    let printed = try PTXPrinter().print(
      ModuleIR(kernels: [try row.build(for: target)]), target: target)
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Golden/\(symbol).\(target).ptx")
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try printed.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(printed == (try String(contentsOf: file, encoding: .utf8)))
  }
}
