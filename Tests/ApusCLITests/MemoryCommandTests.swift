import ApusCore
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct MemoryCommandTests {
  @Test func `numbers describe a model`() throws {
    let command = try MemoryCommand.parse([
      "--layers", "80", "--qo-heads", "64", "--kv-heads", "8", "--head-dim", "128", "--scales",
      "token-head",
    ])
    let report = try command.report()
    #expect(report.sizes.count == 10)
    #expect(report.sizes.first { $0.kind == .gqa && $0.type == "e4m3" }?.bytesPerToken == 168_960)
    #expect(report.text.contains("GQA    bf16       163 840      327 680       3 276"))
  }

  @Test func `KV heads and value width default to those of q and k`() throws {
    let report = try MemoryCommand.parse(["--layers", "2", "--qo-heads", "4", "--head-dim", "8"])
      .report()
    #expect(report.model.kinds == [.mha])
    // 2 layers, 4 heads, 8 + 8 values of 4 bytes.
    #expect(report.sizes.first { $0.type == "f32" }?.bytesPerToken == 512.0)
  }

  @Test(arguments: [
    ([], "Pass --config, or at least --layers, --qo-heads and --head-dim."),
    (["--config", "a", "--layers", "1"], "Pass --config or the numbers of a model, not both."),
    (
      ["--layers", "1", "--qo-heads", "1", "--head-dim", "8", "--latent-kpe", "1"],
      "--latent-kpe needs --latent-ckv."
    ),
    (
      ["--layers", "1", "--qo-heads", "1", "--head-dim", "8", "--bits", "nan"],
      "--bits must be above 0 and at most 32; found nan."
    ),
  ])
  func `a command line that makes no sense is refused`(_ arguments: [String], _ text: String) {
    let error = #expect(throws: (any Error).self) { try MemoryCommand.parse(arguments) }
    #expect(error.map { MemoryCommand.message(for: $0) } == text)
    #expect(error.map { MemoryCommand.exitCode(for: $0) } == .validationFailure)
  }

  @Test(arguments: ["80:8", "80:8:x", "", "1:2:3:4"])
  func `a baseline needs three integers`(_ text: String) {
    let error = #expect(throws: ArgumentError.self) { try MemoryCommand.model(text) }
    #expect(
      error?.description
        == "apus memory: against must be three integers layers:kv-heads:head-dim; found \(text). "
        + "For example 80:8:128.")
  }
}
