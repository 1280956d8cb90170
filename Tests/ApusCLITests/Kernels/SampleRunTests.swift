import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct SampleRunTests {
  private func run(_ kernel: AddOne, seed: UInt64 = 3) throws -> SimulationResult {
    SampleRun.run(kernel, ir: try kernel.build(for: .sm80), target: .sm80, seed: seed)
  }

  @Test func `a correct kernel has no findings`() throws {
    let result = try run(AddOne())
    #expect(result.findings == [])
    #expect(result.instructionCount > 0)
    #expect(result.problem == "100 elements")
    #expect(SimulationResult.text([result]).contains("sm80_add_one_f32  sm_80"))
  }

  @Test func `wrong results are findings`() throws {
    #expect(try run(AddOne(added: 2)).findings.count == 100)
  }

  @Test func `violations are findings with their line of Swift`() throws {
    let result = try run(AddOne(isUnchecked: true))
    #expect(result.findings.contains { $0.contains("global accesses must lie in bound memory") })
    #expect(result.findings.contains { $0.contains("SampleKernels.swift:") })
  }

  @Test func `runs must be at least one`() {
    #expect(throws: (any Error).self) { try KernelsSimulateCommand.parse(["--runs", "0"]) }
  }

  /// `Scripts/test` runs all samples with `apus kernels simulate`.
  @Test func `samples of the catalogue are right, and untouched buffers are not`() throws {
    let rows = KernelCatalog.all.compactMap { $0 as? any SampledKernel }
    let chosen = Set([0, rows.count / 2, rows.count - 1]).sorted().filter(rows.indices.contains)
    #expect(!chosen.isEmpty)
    for row in chosen.map({ rows[$0] }) {
      let target = try #require(row.targets.first)
      let ir = Legalisation.run(try row.build(for: target), target: target)
      let result = SampleRun.run(row, ir: ir, target: target, seed: 7)
      #expect(result.findings == [], "\(row.symbol), seed 7")
      #expect(result.instructionCount > 0, "\(row.symbol)")
      let sample = row.sample(seed: 7)
      #expect(!sample.check(sample.buffers.map(\.bytes)).isEmpty, "\(row.symbol)")
    }
  }
}
