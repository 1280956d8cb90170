import ApusCore
import ApusIO
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct AttendCommandTests {
  @Test(arguments: [
    [], ["--page-size", "1"], ["--page-size", "4"], ["--page-size", "9", "--layout", "hnd"],
    ["--layout", "HND"], ["--threads", "1", "--cpu", "portable"],
  ])
  func `every geometry agrees with plain loops`(_ options: [String]) throws {
    let sample = try AttendSample()
    let report = try sample.report(["--compare", "o64", "--compare-lse", "lse64"] + options)
    #expect(report.comparisons.map(\.name) == ["o64", "lse64"])
    for comparison in report.comparisons { #expect(comparison.relativeError < sample.f32Bound) }
    #expect(report.isWithinTolerance)
  }

  @Test(arguments: ["none", "head", "token-head"], ["0", "4"])
  func `FP8 caches stay within half a step of each value`(_ scales: String, _ pageSize: String)
    throws
  {
    let sample = try AttendSample()
    let report = try sample.report([
      "--kv-type", "e4m3", "--kv-scales", scales, "--page-size", pageSize, "--compare", "o64",
    ])
    let error = try #require(report.comparisons.first?.relativeError)
    // Beyond what f32 allows: the cache is narrow indeed.
    #expect(error > sample.f32Bound)
    #expect(error < sample.fp8Bound)
  }

  @Test func `o and lse are written with types and shapes`() throws {
    let sample = try AttendSample()
    let output = sample.folder.path("out.safetensors")
    _ = try sample.report(["--output", output, "--o-type", "bf16", "--o-name", "out"])
    let file = try SafetensorsFile(path: output)
    let (o, lse) = (try file.tensor(named: "out"), try file.tensor(named: "lse"))
    #expect(o.scalarType == .bf16)
    #expect(o.shape == [2, 5, 4, 16])
    #expect(lse.shape == [2, 5, 4])
    #expect(relativeError(try lse.elements(as: Float.self), sample.lse) < sample.f32Bound)
    let stored = try o.elements(as: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
    // Rounding to bf16 is at most one unit roundoff of each value.
    #expect(relativeError(stored, sample.o) < 0x1p-8 + sample.f32Bound)
  }

  @Test func `npy files in and out`() throws {
    let sample = try AttendSample()
    let output = sample.folder.path("out.npy")
    let report = try AttendCommand.parse([
      "--q", sample.folder.path("q.npy"), "--k", sample.folder.path("k.npy"), "--v",
      sample.folder.path("v.npy"), "--causal", "--output", output,
    ]).report()
    #expect(report.output == output)
    let stored = try NPYFile(path: output).tensor
    #expect(stored.shape == [2, 5, 4, 16])
    #expect(relativeError(try stored.elements(as: Float.self), sample.o) < sample.f32Bound)
  }

  @Test func `a tolerance decides`() throws {
    let sample = try AttendSample()
    let report = try sample.report(["--no-causal", "--compare", "o64", "--tolerance", "1e-3"])
    #expect(!report.isWithinTolerance)
    #expect(report.text.contains("exceeds 0.001"))
  }

  @Test func `an unknown name offers the nearest and nothing is written`() throws {
    let sample = try AttendSample()
    let output = sample.folder.path("out.npy")
    let error = #expect(throws: FileError.self) {
      try sample.report(["--compare", "o63", "--output", output])
    }
    #expect(error?.description.contains(#"found no "o63". Did you mean "o64"?"#) == true)
    #expect(readText(output) == nil)
  }

  @Test(arguments: [
    (
      ["--q", "flat"],
      "apus attend: --q must name a tensor [token, head, dim] or [batch, token, head, dim]; "
        + "found flat: F32 [2, 5]."
    ),
    (
      ["--q", "count"],
      "apus attend: --q must name a tensor of a floating type; found count: I32 [2, 5, 4, 16]. "
        + "For bit patterns in an .npy file, state the type with --q-type or --kv-type."
    ),
    (
      ["--v", "q"],
      "apus attend: k and v must have the same tokens and heads; "
        + "found [2, 9, 2, 16] and [2, 5, 4, 16]."
    ),
    (
      ["--compare", "flat"],
      "apus attend: --compare must name a tensor of shape [2, 5, 4, 16]; found flat: F32 [2, 5]."
    ),
    (
      ["--window-left=-1"],
      "BatchPrefill.plan: windowLeft must be at least 0; found -1. "
        + "Pass nil for no window."
    ),
  ])
  func `inputs that do not fit are refused`(_ options: [String], _ message: String) throws {
    let sample = try AttendSample()
    let error = #expect(throws: (any Error).self) {
      try sample.report(["--compare", "o64"] + options)
    }
    #expect(error.map { "\($0)" } == message)
  }

  @Test(arguments: [
    ([], "Pass --output, or a tensor to --compare with."),
    (["--output", "o.txt"], "--output must end in .safetensors or .npy; found o.txt."),
    (["--output", "o.npy", "--page-size=-1"], "--page-size must be at least 0; found -1."),
    (
      ["--output", "o.npy", "--rope-interleaved"],
      "--rope-scale and --rope-interleaved need --rope-theta."
    ),
    (
      ["--output", "o.npy", "--tolerance", "1"], "--tolerance needs --compare or --compare-lse."
    ),
    (
      ["--output", "o.npy", "--o-name", "lse"],
      "--o-name and --lse-name must differ; found lse twice."
    ),
  ])
  func `a command line that makes no sense is refused`(_ options: [String], _ text: String) {
    let error = #expect(throws: (any Error).self) {
      try AttendCommand.parse(["f", "--q", "q", "--k", "k", "--v", "v"] + options)
    }
    #expect(error.map { AttendCommand.message(for: $0) } == text)
  }

  @Test func `score options reach the contract`() throws {
    let command = try AttendCommand.parse([
      "f", "--q", "q", "--k", "k", "--v", "v", "--output", "o.npy", "--alibi", "--soft-cap", "30",
      "--scale", "0.5", "--rope-theta", "500", "--rope-scale", "2", "--rope-interleaved",
    ])
    #expect(
      command.modification(qoHeadCount: 2)
        == ScoreModification(
          softmaxScale: 0.5, logitsSoftCap: 30, alibiSlopes: [0x1p-4, 0x1p-8],
          rope: RotaryEmbedding(pairing: .interleaved, scale: 2, theta: 500)))
  }
}
