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
