import ApusConformance
import ApusCore
import ApusNumerics
import ApusTestSupport
import Testing

@Suite struct SuiteTests {
  @Test func `the naive computation passes cases, properties and malformed calls`() {
    let report = Suite(
      backend: ReferenceBackend(),
      options: .init(cases: 0..<250, size: .small, propertyRepetitions: 0, workers: 2)
    ).run()
    #expect(report.failedCount == 0, "\(report)")
    #expect(report.skippedCount == 0, "\(report)")
    #expect(report.passedCount == report.coverage.caseCount + MalformedCall.all.count)
    #expect(report.coverage.caseCount == 250)
    #expect(report.largestMargin.value < 1)
  }

  @Test(arguments: Defect.ofCases)
  func `a case finds the planted defect`(_ defect: Defect) {
    let report = Suite(
      backend: ReferenceBackend(defect: defect),
      options: .init(
        cases: 0..<1000, size: .small, propertyRepetitions: 0,
        makesMalformedCalls: false, stopsAtFirstFailure: true)
    ).run()
    #expect(report.failedCount == 1, "\(defect) went unnoticed:\n\(report)")
  }

  @Test func `a coarser P passes only where the back end declares it`() {
    let options = Suite.Options(
      cases: 0..<120, size: .small, propertyRepetitions: 0, makesMalformedCalls: false)
    let backend = ReferenceBackend(pType: .bf16)
    let declared = Suite(
      backend: backend, model: ArithmeticModel(pType: .bf16), options: options
    ).run()
    #expect(declared.failedCount == 0, "\(declared)")
    let silent = Suite(backend: backend, options: options).run()
    #expect(silent.failedCount > 0)
  }

  @Test func `refused cases are skipped and never passed`() {
    let options = Suite.Options(
      cases: 0..<120, size: .small, propertyRepetitions: 0, makesMalformedCalls: false)
    let all = Suite(backend: ReferenceBackend(), options: options).run()
    let fewer = Suite(backend: ReferenceBackend(refusesMLA: true), options: options).run()
    let latent = all.coverage.counts["family"]?["mla"] ?? 0
    #expect(latent > 0)
    #expect(fewer.skippedCount == latent)
    #expect(fewer.passedCount == all.passedCount - latent)
    #expect(fewer.coverage.counts["family"]?["mla"] == 0)
    #expect(fewer.skipReasons == ["a latent cache": latent])
    #expect(
      fewer.closingLine == "\(fewer.passedCount) passed, 0 failed, \(latent) skipped")
  }

  @Test func `the report does not depend on the number of workers`() {
    func report(_ workers: Int) -> String {
      Suite(
        backend: ReferenceBackend(defect: .wrongBase),
        options: .init(
          cases: 0..<60, size: .small, propertyRepetitions: 0,
          makesMalformedCalls: false, workers: workers)
      ).run().description
    }
    #expect(report(1) == report(3))
  }

  @Test func `progress counts every check once`() {
    let counter = Counter()
    let report = Suite(
      backend: ReferenceBackend(),
      options: .init(
        cases: 0..<20, size: .small, propertyRepetitions: 0,
        makesMalformedCalls: false, workers: 2)
    ).run { done, total in counter.add(done, of: total) }
    #expect(counter.calls == Array(1...report.passedCount))
    #expect(counter.totals == [report.passedCount])
  }
}

/// `@unchecked Sendable`: the suite calls progress one call at a time.
private final class Counter: @unchecked Sendable {
  var calls: [Int] = []
  var totals: Set<Int> = []

  func add(_ done: Int, of total: Int) {
    calls.append(done)
    totals.insert(total)
  }
}
