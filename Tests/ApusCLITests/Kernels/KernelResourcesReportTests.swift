import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import Testing

@testable import ApusCLI

@Suite struct KernelResourcesReportTests {
  /// What an assembler might say of a kernel.
  private func log(
    _ symbol: String, registers: Int, spills: Int = 0, shared: Int = 0, more: String = ""
  ) -> PtxasOutcome {
    PtxasOutcome(
      status: 0,
      log: """
        ptxas info    : Compiling entry function '\(symbol)' for 'sm_80'
        ptxas info    : Function properties for \(symbol)
            0 bytes stack frame, \(spills) bytes spill stores, 0 bytes spill loads
        ptxas info    : Used \(registers) registers, used 0 barriers, \(shared) bytes smem
        \(more)
        """)
  }

  private func row(
    _ kernel: any ShippedKernel, _ target: Target, _ outcome: PtxasOutcome?
  ) throws -> KernelResourcesReport.Row {
    KernelResourcesReport.Row(try PrintedKernel(kernel, target: target), outcome: outcome)
  }

  @Test func `assembled registers stand beside the prediction`() throws {
    let row = try row(AddOne(), .sm80, log("sm80_add_one_f32", registers: 40))
    #expect(row.registers == 40)
    // 64 threads of 40 registers: 1280 a warp, 48 warps, 24 blocks.
    #expect(row.blocks == 24)
    #expect(row.limit == "registers")
    #expect(row.problems == [])
  }

  @Test func `without an assembler the prediction stands alone`() throws {
    let row = try row(Product(), .sm90a, nil)
    #expect(row.registers == nil)
    // 64 × 64 of f32 over 128 threads, and the reserve.
    #expect(row.predictedRegisters == 32 + 25)
    #expect(row.basis == "fragments")
    #expect(row.sharedBytes == 16384)
    #expect(row.problems == [])
    let report = KernelResourcesReport(ptxas: nil, rows: [row])
    #expect(report.text.contains("1 rows, no ptxas, predictions only, 0 with problems"))
  }

  @Test func `spills, warnings, local memory and refusals are problems`() throws {
    let symbol = AddOne().symbol
    #expect(
      try row(AddOne(), .sm80, log(symbol, registers: 40, spills: 8)).problems
        == ["spills 8 bytes"])
    #expect(
      try row(
        AddOne(), .sm80,
        log(symbol, registers: 40, more: "ptxas info : (C7512) Potential Performance Loss")
      ).problems == ["ptxas info : (C7512) Potential Performance Loss"])
    #expect(
      try row(AddOne(), .sm80, log(symbol, registers: 40, shared: 200 << 10)).problems
        == ["shared memory exceeds 166912 bytes", "fewer than 1 blocks fit"])
    let refused = try row(AddOne(), .sm80, PtxasOutcome(status: 255, log: "no"))
    #expect(refused.problems == ["does not assemble: no"])
    let report = KernelResourcesReport(ptxas: "13.0", rows: [refused])
    #expect(report.text.contains("1 rows, ptxas 13.0, 1 with problems"))
    #expect(report.text.hasSuffix("sm80_add_one_f32 sm_80: does not assemble: no"))
  }
}
