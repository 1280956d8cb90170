import Apus
import Foundation
import Testing

@testable import ApusCLI

@Suite struct BenchServerTests {
  @Test func `a line is answered by one line of JSON`() throws {
    var server = try Self.server()
    let name = "rope_n16_h32x8_d128_f32"
    let answer = server.answer(name)
    #expect(!answer.contains("\n"))
    let result = try JSONDecoder().decode(BenchResult.self, from: Data(answer.utf8))
    #expect(result.name == name)
    #expect(result.time.repetitions == 1)
    #expect(result.bytesPerSecond == Double(result.work.bytes) / result.time.medianSeconds)
    #expect(server.answer("drop") == "{}")
  }

  @Test func `limits are positive`() throws {
    var server = try Self.server()
    let limits = try JSONDecoder().decode(
      BenchLimits.self, from: Data(server.answer("limits").utf8))
    #expect(limits.readBytesPerSecond > 0)
    #expect(limits.fmaFlopsPerSecond > 0)
  }

  @Test func `about names the machine and the commit`() throws {
    var server = try Self.server()
    let answer = server.answer("about")
    #expect(answer.contains("\"commit\":\"abc\""))
    #expect(answer.contains("\"threads\":1"))
    #expect(answer.contains("\"cpuModel\":"))
  }

  @Test func `an unknown line is answered by an error`() throws {
    var server = try Self.server()
    #expect(server.answer("nonsense").hasPrefix("{\"error\":\"bench: a line must name a case"))
  }

  private static func server() throws -> BenchServer {
    let policy = BenchPolicy(
      warmUps: 0, minimumRepetitions: 1, maximumRepetitions: 1, secondsPerCase: 0,
      rotationBytes: 0)
    let runner = BenchRunner(
      backend: try CPUBackend(threadCount: 1), policy: policy, probeByteCount: 1 << 16,
      probeRepetitions: 1)
    return BenchServer(runner: runner, commit: "abc")
  }
}
