import ApusAssembler
import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct KernelsCommandTests {
  private static let catalogue: [any ShippedKernel] = [AddOne(), Product()]

  private func selection(_ arguments: [String]) throws -> CatalogueOptions {
    try CatalogueOptions.parse(arguments)
  }

  @Test func `families, targets and symbols choose rows`() throws {
    func symbols(_ arguments: [String], _ symbols: [String] = []) throws -> [String] {
      try selection(arguments).rows(symbols, of: Self.catalogue, operation: "o").map(\.symbol)
    }
    #expect(try symbols([]) == ["sm80_add_one_f32", "sm90_product_bf16"])
    #expect(try symbols(["--family", "prefill"]) == ["sm90_product_bf16"])
    #expect(try symbols(["--target", "sm_80"]) == ["sm80_add_one_f32"])
    #expect(try symbols([], ["sm90_product_bf16"]) == ["sm90_product_bf16"])
    #expect(try selection(["--target", "SM_90a"]).targets(of: AddOne()) == [.sm90a])
    #expect(try selection([]).targets(of: AddOne()) == [.sm80, .sm90a])
  }

  @Test func `an unknown symbol is refused with those that resemble it`() {
    let error = #expect(throws: ArgumentError.self) {
      try CatalogueOptions.row("sm90_product_f16", of: Self.catalogue, "apus kernels print")
    }
    #expect(
      error?.description
        == "apus kernels print: symbol must be a row of `apus kernels list`; found "
        + "sm90_product_f16. Did you mean sm90_product_bf16?")
  }

  @Test func `a target that the row is not for is refused`() throws {
    let error = #expect(throws: ArgumentError.self) {
      try selection(["--target", "sm_86"]).target(of: AddOne(), operation: "o")
    }
    #expect(
      error?.description
        == "o: target must be one that sm80_add_one_f32 is for; found sm_86. It is for sm_80, "
        + "sm_90a.")
    #expect(try selection([]).target(of: AddOne(), operation: "o") == .sm90a)
  }

  @Test func `the list states launch, PTX version and driver`() throws {
    let report = KernelListReport(rows: [
      try KernelListReport.Row(AddOne(), targets: [.sm80, .sm90a], timing: false),
      try KernelListReport.Row(Product(), targets: [.sm90a], timing: false),
    ])
    #expect(
      report.text == """
        symbol             family   targets       threads  cluster  shared  PTX      driver from
        ─────────────────  ───────  ────────────  ───────  ───────  ──────  ───────  ───────────
        sm80_add_one_f32   stream   sm_80 sm_90a       64        1       0  7.0 8.0  r450 r525
        sm90_product_bf16  prefill  sm_90a            128        1  16 384  8.0      r525
        2 kernels
        """)
  }

  @Test func `timing adds two columns`() throws {
    let row = try KernelListReport.Row(AddOne(), targets: [.sm80], timing: true)
    #expect(try #require(row.buildSeconds) > 0)
    #expect(try #require(row.printSeconds) > 0)
    #expect(KernelListReport(rows: [row]).text.contains("build"))
  }

  @Test func `print needs a symbol or a folder, not both`() {
    for arguments in [[], ["k", "--output", "folder"]] {
      let error = #expect(throws: (any Error).self) {
        try KernelsPrintCommand.parse(arguments)
      }
      #expect(
        error.map { KernelsPrintCommand.message(for: $0) }
          == "Pass a symbol, or --output for all rows.")
    }
  }

  @Test func `print gives the text for the driver, with locations on request`() throws {
    let text = try KernelsPrintCommand.text(AddOne(), target: .sm80, locations: false)
    #expect(text.hasPrefix(".version 7.0\n.target sm_80\n"))
    #expect(!text.contains("SampleKernels.swift"))
    #expect(
      try KernelsPrintCommand.text(AddOne(), target: .sm80, locations: true)
        .contains("SampleKernels.swift:"))
    #expect(try PrintedKernel(AddOne(), target: .sm80).ptx == text)
  }
}
