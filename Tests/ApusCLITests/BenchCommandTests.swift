import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct BenchCommandTests {
  @Test func `options decide the repetitions`() throws {
    #expect(try BenchCommand.parse(["cpu"]).policy == BenchPolicy())
    #expect(try BenchCommand.parse(["cpu", "--quick"]).policy == .quick)
    let exact = try BenchCommand.parse(["ops", "--repetitions", "7", "--seconds", "0.5"]).policy
    #expect(exact.minimumRepetitions == 7)
    #expect(exact.maximumRepetitions == 7)
    #expect(exact.secondsPerCase == 0.5)
  }

  @Test(arguments: [
    (["cpu", "--seconds=-1"], "bench: --seconds must be in 0…3600; found -1.0."),
    (["cpu", "--seconds", "nan"], "bench: --seconds must be in 0…3600; found nan."),
    (["cpu", "--repetitions", "0"], "bench: --repetitions must be in 1…1000000; found 0."),
    (["gpu"], "The value 'gpu' is invalid for '<suite>'"),
  ])
  func `a bad option is refused`(_ arguments: [String], _ text: String) {
    let error = #expect(throws: (any Error).self) { try BenchCommand.parse(arguments) }
    #expect(error.map { BenchCommand.message(for: $0) }?.contains(text) == true)
  }

  @Test func `filters without a case are refused before anything runs`() throws {
    let command = try BenchCommand.parse(["ops", "--filter", "nothing"])
    #expect(throws: BenchError.noCases(suite: "ops", filters: ["nothing"])) { try command.run() }
  }
}
