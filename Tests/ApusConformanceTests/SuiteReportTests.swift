import ApusConformance
import Testing

@Suite struct SuiteReportTests {
  /// The report without its coverage table.
  private func lines(_ backend: ReferenceBackend, cases: Range<Int>) -> [String] {
    let report = Suite(
      backend: backend,
      options: .init(
        cases: cases, size: .small, propertyRepetitions: 0, makesMalformedCalls: false)
    ).run()
    let text = report.description.split(separator: "\n", omittingEmptySubsequences: false)
    let table = report.coverage.description.split(separator: "\n")
    return text.filter { !table.contains($0) }.map(String.init)
  }

  @Test func `an empty run closes with zeros`() {
    let report = Suite(
      backend: ReferenceBackend(),
      options: .init(cases: 0..<0, propertyRepetitions: 0, makesMalformedCalls: false)
    ).run()
    #expect("\(report)" == "conformance of reference, seed 1\n0 passed, 0 failed")
  }

  @Test func `the report begins with the coverage table`() {
    let report = Suite(
      backend: ReferenceBackend(),
      options: .init(
        cases: 0..<3, size: .small, propertyRepetitions: 0, makesMalformedCalls: false)
    ).run()
    let start = "conformance of reference, seed 1\n\(report.coverage)\n"
    #expect("\(report)".hasPrefix(start))
    #expect("\(report)".hasSuffix("\n3 passed, 0 failed"))
    #expect(report.coverage.description.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test func `a failure names its case and what was found`() {
    #expect(
      lines(ReferenceBackend(defect: .wrongPackOrder), cases: 0..<1) == [
        "conformance of reference, seed 1",
        "FAILED seed 1 small case 0: packbits: big, segments [8, 63]",
        "  packed[0]: found 234, expected 87",
        "0 passed, 1 failed",
      ])
  }

  @Test func `a difference names its element, its bits and what is allowed`() throws {
    // Digits of the allowance depend on the C library; their places do not.
    let found = lines(ReferenceBackend(defect: .wrongBase), cases: 2..<3)
    let first = try #require(found.dropFirst(2).first)
    #expect(first.hasPrefix("  lse[0, 0] (request 0): found 3.35"))
    #expect(first.contains(" (0x4056"))
    #expect(first.contains("), expected 4.84"))
    #expect(first.contains(" ± 6.84"))
    #expect(found.contains { $0.hasPrefix("  lse: L2 error 2.50") })
    #expect(found.suffix(2) == ["  lse: 1 more", "0 passed, 1 failed"])
  }

  @Test func `skipped checks are listed by reason`() {
    #expect(
      lines(ReferenceBackend(refusesMLA: true), cases: 45..<46) == [
        "conformance of reference, seed 1", "skipped 1: a latent cache",
        "0 passed, 0 failed, 1 skipped",
      ])
  }
}
