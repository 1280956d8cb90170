import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import Foundation
import Testing

@testable import ApusCLI

@Suite struct KernelRecordingTests {
  private static let text = """
    # comment
    # ptxas 13.0
    a sm_80 0123456789abcdef 40 0
    a sm_90a fedcba9876543210 44 1024

    """

  @Test func `a recording is read and written`() {
    let recording = KernelRecording(Self.text)
    #expect(recording.release == "13.0")
    #expect(recording.lines.map(\.name) == ["a sm_80", "a sm_90a"])
    #expect(KernelRecording(recording.text) == recording)
    #expect(KernelRecording("nonsense\n").lines == [])
  }

  @Test func `each kind of change is told`() {
    let old = KernelRecording(Self.text)
    func changes(_ edit: (inout KernelRecording) -> Void, _ names: [String]) -> [String] {
      var new = old
      edit(&new)
      return new.compared(with: old, catalogue: Set(names)).changes
    }
    let all = ["a sm_80", "a sm_90a"]
    #expect(changes({ _ in }, all) == [])
    #expect(changes({ $0.lines[0].hash = "x" }, all) == ["a sm_80: other PTX"])
    #expect(
      changes({ $0.lines[1].usage = "45 1024" }, all)
        == ["a sm_90a: registers and shared bytes 44 1024 → 45 1024"])
    #expect(
      changes({ $0.lines[0].name = "b sm_80" }, ["b sm_80", "a sm_90a"])
        == ["a sm_80 is gone", "b sm_80 is new"])
    // A part of the catalogue says nothing of the rest.
    #expect(changes({ $0.lines.removeLast() }, all) == [])
  }

  @Test func `registers of another assembler are not compared`() {
    let old = KernelRecording(Self.text)
    var new = old
    new.release = "12.4"
    new.lines[0].usage = "99 0"
    let comparison = new.compared(with: old, catalogue: ["a sm_80", "a sm_90a"])
    #expect(comparison.changes == [])
    #expect(
      comparison.notes == ["SKIP recorded registers: they are of ptxas 13.0, found 12.4"])
  }

  /// One row of each family here; `Scripts/test` compares all. `APUS_RECORD=1` records all.
  @Test func `rows print as recorded`() throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "ApusKernelsTests/Golden/hashes.txt")
    let all = KernelCatalog.all
    let isRecording = ProcessInfo.processInfo.environment["APUS_RECORD"] == "1"
    let assembler = isRecording ? Ptxas.find() : nil
    let rows =
      isRecording
      ? all : KernelFamily.allCases.compactMap { family in all.first { $0.family == family } }
    let newest = try assembler?.newestVersion()
    let jobs = rows.flatMap { row in
      (isRecording ? row.targets : row.targets.suffix(1)).map { (row, $0) }
    }
    let report = KernelResourcesReport(
      ptxas: try assembler?.release(),
      rows: try concurrentMap(jobs) { row, target in
        try KernelResourcesReport.Row(row, target: target, assembler: assembler, newest: newest)
      })
    let current = KernelRecording(report)
    if isRecording {
      try current.text.write(to: file, atomically: true, encoding: .utf8)
      return
    }
    let recorded = KernelRecording(try String(contentsOf: file, encoding: .utf8))
    let names = all.flatMap { row in row.targets.map { "\(row.symbol) \($0)" } }
    let changes = current.compared(with: recorded, catalogue: Set(names)).changes
    #expect(
      changes == [],
      "See Scripts/ptx-diff; record with APUS_RECORD=1 if the changes are meant.")
  }
}
