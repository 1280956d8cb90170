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

  @Test func `a sample of another kernel is a finding`() throws {
    let ir = try AddOne(isUnchecked: true).build(for: .sm80)
    let result = SampleRun.run(AddOne(), ir: ir, target: .sm80, seed: 3)
    #expect(
      result.findings.contains(
        "sample: launches must be the kernel's own; found sm80_add_one_f32"))
  }

  @Test func `a check that untouched buffers pass is a finding`() throws {
    let result = try run(AddOne(isTrusting: true))
    #expect(
      result.findings == ["sample: the check must refuse untouched buffers; found nothing wrong"])
  }

  @Test func `every row of the catalogue has a sample`() {
    let without = KernelCatalog.all.filter { !($0 is any SampledKernel) }.map(\.symbol)
    #expect(without == [])
  }

  /// One row of each family; `Scripts/test` runs all with `apus kernels simulate`.
  @Test func `samples of the catalogue are right`() throws {
    let all = KernelCatalog.all
    for family in KernelFamily.allCases {
      let row = try #require(
        all.first { $0.family == family } as? any SampledKernel, "\(family)")
      let target = try #require(row.targets.first)
      let ir = try row.build(for: target)
      let result = SampleRun.run(row, ir: ir, target: target, seed: 7)
      #expect(result.findings == [], "\(row.symbol), seed 7")
      #expect(result.instructionCount > 0, "\(row.symbol)")
    }
  }
}
