import Apus
import ApusConformance
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct VerifyCommandTests {
  @Test func `cases alone are counted`() throws {
    let options = try VerifyCommand.parse(["--cases", "12", "--seed", "9", "--workers", "2"])
      .options
    #expect(options.cases == 0..<12)
    #expect(options.seed == 9)
    #expect(options.workers == 2)
    #expect(options.propertyRepetitions == 0)
    #expect(!options.makesMalformedCalls)
    let report = Suite(backend: try CPUBackend(threadCount: 1), options: options).run()
    #expect(report.passedCount + report.failedCount + report.skippedCount == 12)
    let text = VerifyCommand.text(of: report)
    #expect(text.split(separator: "\n").last.map(String.init) == report.closingLine)
    #expect(
      report.closingLine.hasPrefix("\(report.passedCount) passed, \(report.failedCount) failed"))
    let json = VerifyReport(report, machine: .current, seconds: 1)
    #expect(json.passed == report.passedCount)
    #expect(json.caseCount == 12)
  }

  @Test func `one case runs alone`() throws {
    #expect(try VerifyCommand.parse(["--case", "7"]).options.cases == 7..<8)
    #expect(try VerifyCommand.parse(["--laws"]).options.makesMalformedCalls)
    #expect(try VerifyCommand.parse([]).options.casesPerConfiguration == 1)
    let cuda = ["--backend", "cuda"]
    #expect(try VerifyCommand.parse(cuda).options.casesPerConfiguration == 16)
    #expect(
      try VerifyCommand.parse(cuda + ["--no-simplify"]).options.casesPerConfiguration == 1)
  }

  @Test(arguments: [
    ("cpu", BackendName.cpu), ("simulator", .simulator), ("cuda", .cuda(device: 0)),
    ("CUDA:3", .cuda(device: 3)),
  ])
  func `back ends have names`(_ text: String, _ expected: BackendName) throws {
    let command = try VerifyCommand.parse(["--backend", text])
    #expect(command.backendOptions.backend == expected)
    #expect(BackendName(argument: expected.description) == expected)
  }

  @Test(arguments: ["gpu", "cuda:", "cuda:-1", "cuda:x"])
  func `other names are refused`(_ text: String) {
    #expect(BackendName(argument: text) == nil)
  }

  @Test func `the simulator runs small cases, seeks what it supports and counts kernels`() throws {
    let command = try VerifyCommand.parse(
      ["--backend", "simulator", "--family", "packbits", "--cases", "6"])
    #expect(command.options.size == .small)
    #expect(command.options.family == .packbits)
    #expect(command.options.seeksSupport)
    #expect(
      try VerifyCommand.parse(["--backend", "simulator", "--no-simplify", "--size", "full"]).options
        .seeksSupport == false)
    let host = try command.backendOptions.makeHostBackend()
    let report = Suite(
      backend: host.backend, model: host.model, options: command.options, kernels: host.kernels
    ).run()
    #expect(report.failedCount == 0)
    let text = VerifyCommand.text(of: report)
    #expect(text.contains("kernel sm80_packbits_"))
    #expect(!text.contains("mask bits"))
    #expect(VerifyReport(report, machine: .current, seconds: 1).kernelCases == report.kernelCases)
  }

  @Test func `many kernels are summed up`() {
    #expect(VerifyCommand.kernelLines([:]).isEmpty)
    let many = Dictionary(uniqueKeysWithValues: (0..<100).map { ("kernel\($0)", 5 + $0) })
    #expect(
      VerifyCommand.kernelLines(many) == [
        "kernels: 100 configurations ran, each in at least 5 cases, 5 of them in fewer than 10"
      ])
  }

  @Test func `a machine without a GPU says why`() throws {
    let options = try BackendOptions.parse(["--backend", "cuda:99"])
    let error = #expect(throws: ApusError.self) { try options.makeHostBackend() }
    let text = error?.description ?? ""
    #expect(text.hasPrefix("CUDABackend.init: "))
    #expect(throws: (any Error).self) { try options.makeBackend() }
  }

  @Test(arguments: [
    (["--cases", "0"], "--cases must be in 1…10000000; found 0."),
    (["--case=-1"], "--case must be in 0…2147483647; found -1."),
    (["--workers", "0"], "--workers must be in 1…1024; found 0."),
  ])
  func `a bad option is refused`(_ options: [String], _ text: String) {
    let error = #expect(throws: (any Error).self) { try VerifyCommand.parse(options) }
    #expect(error.map { VerifyCommand.message(for: $0) } == text)
  }
}
