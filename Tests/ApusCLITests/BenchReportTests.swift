import ApusNumerics
import Foundation
import Testing

@testable import ApusCLI

@Suite struct BenchReportTests {
  @Test func `the stored layout is that of schema 1`() throws {
    #expect(try Output.jsonText(try Self.report()) == Self.snapshot)
  }

  @Test func `a report survives its JSON`() throws {
    let text = try Output.jsonText(try Self.report())
    let decoded = try JSONDecoder().decode(BenchReport.self, from: Data(text.utf8))
    #expect(try Output.jsonText(decoded) == text)
    #expect(decoded.cases.first?.shape == Self.item.shape)
  }

  @Test func `an unknown type name is refused with the known ones`() throws {
    let text = try Output.jsonText(try Self.report()).replacing("\"e4m3\"", with: "\"e3m4\"")
    let error = #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(BenchReport.self, from: Data(text.utf8))
    }
    #expect("\(try #require(error))".contains("must be f32, f16, bf16, e4m3 or e5m2; found e3m4."))
  }

  @Test func `fractions follow the better limits`() throws {
    let worse = Self.limits
    var better = worse
    better.readBytesPerSecond *= 2
    #expect(worse.best(better) == better)
    #expect(better.best(worse) == better)
    let time = try #require(BenchStatistics([0.5]))
    let result = BenchResult(Self.item, inputSets: 1, time: time, limits: worse)
    #expect(result.rated(better).readFraction == result.readFraction / 2)
    #expect(result.rated(better).peakFraction == result.peakFraction)
  }

  @Test func `the table shows limits, figures and skipped cases`() throws {
    let text = BenchTable(report: try Self.report()).text
    #expect(text.contains("read 0.00 GB/s, f32 multiply-add 0.00 GFLOP/s"))
    #expect(text.contains(Self.item.name))
    #expect(text.contains("  big: the cache takes 8.0 GiB, more than 4"))
  }

  @Test(arguments: [
    (
      BenchError.noCases(suite: "ops", filters: ["a", "b"]),
      "bench: a case of suite ops must match every filter; found none for a, b. "
        + "List the cases with: apus bench ops --list"
    ),
    (.noRepetitions, "bench: a case must be repeated at least once; found 0 repetitions."),
    (
      .unknownCase("x"),
      "bench: a line must name a case or be \"limits\"; found x. "
        + "List the cases with: apus bench cpu --list"
    ),
    (
      .skippedCase(name: "x", reason: "too big"),
      "bench: a case must fit this machine; found x: too big."
    ),
    (.unwritable(path: "p", text: "t"), "bench: the result must be writable; found p: t."),
  ])
  func `errors say what was found`(_ error: BenchError, _ text: String) {
    #expect(error.description == text)
  }

  private static let item = BenchCase(
    .batchDecode,
    BenchShape(
      batch: 2, kvLength: 10, qoHeadCount: 4, kvHeadCount: 2, headDimQK: 8, headDimVO: 8,
      q: ElementName(.f32), kv: ElementName(.e4m3), o: ElementName(.bf16), cache: .paged,
      layout: "NHD", pageSize: 16))

  private static let limits = BenchLimits(readBytesPerSecond: 4096, fmaFlopsPerSecond: 20480)

  private static func report() throws -> BenchReport {
    let time = try #require(BenchStatistics([0.25, 0.5, 1]))
    return BenchReport(
      suite: .decode, isQuick: false, date: "2026-01-02T03:04:05Z", commit: "0123abc",
      machine: MachineInfo(
        cpuModel: "CPU", coreCount: 2, memoryByteCount: 1024, operatingSystem: "OS",
        architecture: "x86-64"),
      backend: "cpu", instructionSet: "avx2", threads: 2, limits: limits, policy: BenchPolicy(),
      method: "words", cases: [BenchResult(item, inputSets: 3, time: time, limits: limits)],
      skipped: [BenchSkip(name: "big", reason: "the cache takes 8.0 GiB, more than 4")])
  }

  private static let snapshot = """
    {
      "backend" : "cpu",
      "cases" : [
        {
          "bytesPerSecond" : 2048,
          "flopsPerSecond" : 5120,
          "inputSets" : 3,
          "limitFraction" : 0.5,
          "name" : "decode_paged16_b2_kv10_h4x2_d8_q_f32_kv_e4m3",
          "operator" : "batchDecode",
          "peakFraction" : 0.25,
          "readFraction" : 0.5,
          "shape" : {
            "batch" : 2,
            "cache" : "paged",
            "headDimQK" : 8,
            "headDimVO" : 8,
            "isCausal" : false,
            "kv" : "e4m3",
            "kvHeadCount" : 2,
            "kvLength" : 10,
            "layout" : "NHD",
            "o" : "bf16",
            "pageSize" : 16,
            "q" : "f32",
            "qoHeadCount" : 4,
            "qoLength" : 1
          },
          "time" : {
            "medianSeconds" : 0.5,
            "minSeconds" : 0.25,
            "p90Seconds" : 1,
            "repetitions" : 3
          },
          "work" : {
            "bytes" : 1024,
            "cacheBytes" : 640,
            "flops" : 2560,
            "usesPairs" : false
          }
        }
      ],
      "commit" : "0123abc",
      "date" : "2026-01-02T03:04:05Z",
      "instructionSet" : "avx2",
      "isQuick" : false,
      "kind" : "apus-bench",
      "limits" : {
        "fmaFlopsPerSecond" : 20480,
        "readBytesPerSecond" : 4096
      },
      "machine" : {
        "architecture" : "x86-64",
        "coreCount" : 2,
        "cpuModel" : "CPU",
        "memoryByteCount" : 1024,
        "operatingSystem" : "OS"
      },
      "method" : "words",
      "policy" : {
        "maximumRepetitions" : 200,
        "minimumRepetitions" : 5,
        "rotationBytes" : 268435456,
        "secondsPerCase" : 0.4,
        "warmUps" : 1
      },
      "schema" : 1,
      "skipped" : [
        {
          "name" : "big",
          "reason" : "the cache takes 8.0 GiB, more than 4"
        }
      ],
      "suite" : "decode",
      "threads" : 2
    }
    """
}
