import Apus
import ApusCUDA
import ApusCUDATestSupport
import Testing

@testable import ApusConformance

@Suite struct CaseGroupTests {
  /// A GPU whose kernels do nothing.
  static func machine() throws -> (fake: FakeDriver, backend: StagedBackend) {
    var configuration = FakeDriver.Configuration()
    configuration.otherKernels = { _ in FakeKernel(parameterByteCounts: []) { _ in } }
    let fake = FakeDriver(configuration)
    return (fake, StagedBackend(CUDABackend(try CUDALauncher(driver: Driver(table: fake.table)))))
  }

  static func options(
    _ cases: Range<Int>, family: CaseFamily? = nil, seed: UInt64 = 3
  ) -> Suite.Options {
    Suite.Options(
      seed: seed, cases: cases, size: .small, family: family, seeksSupport: true,
      casesPerConfiguration: 12, propertyRepetitions: 0, makesMalformedCalls: false, workers: 2)
  }

  @Test(arguments: CaseFamily.allCases)
  func `members launch the kernels of their leader, or nothing in two of twelve`(
    _ family: CaseFamily
  ) throws {
    let (_, backend) = try Self.machine()
    for group in CaseGroup.all(Self.options(0..<36, family: family), on: backend) {
      #expect(group.members.count == 12)
      #expect(!group.launched.isEmpty)
      #expect(group.launched.isSubset(of: group.compiled))
      var idle = 0
      for member in group.members {
        let launched = member.probed(on: backend).launched
        if launched.isEmpty { idle += 1 } else { #expect(launched == group.launched, "\(member)") }
      }
      #expect(idle <= 2)
      #expect(Set(group.members.map(\.content)).count > 1, "members must differ")
    }
  }

  @Test func `attention varies within a group in more than its data`() throws {
    let (_, backend) = try Self.machine()
    for group in CaseGroup.all(Self.options(0..<48, family: .decode), on: backend) {
      let cases = group.members.compactMap { member -> AttentionCase? in
        guard case .attention(let value) = member.content else { return nil }
        return value
      }
      #expect(Set(cases.map(\.types)).count == 1)
      #expect(Set(cases.map(\.kvLengths)).count > 1)
      #expect(Set(cases.map(\.convention)).count > 1)
    }
  }

  @Test func `one case of a group is rebuilt from its index alone`() throws {
    let (_, backend) = try Self.machine()
    let all = CaseGroup.all(Self.options(12..<24), on: backend).flatMap(\.members)
    for index in [12, 17, 23] {
      let alone = CaseGroup.all(Self.options(index..<index + 1), on: backend).flatMap(\.members)
      #expect(alone == [all[index - 12]])
    }
  }

  @Test func `every kernel is compiled once and every case runs`() throws {
    let (fake, backend) = try Self.machine()
    let report = Suite(backend: backend, model: .tensorCores, options: Self.options(0..<48)).run()
    #expect(report.passedCount + report.failedCount == 48)
    let compiled = fake.calls.count { $0 == "cuModuleLoadDataEx" }
    #expect(report.compilation?.kernelCount == compiled)
    #expect(compiled > 0 && compiled <= 16)
  }

  @Test func `the largest kernel comes first and checks wait for theirs`() throws {
    let (_, backend) = try Self.machine()
    let kernels = CaseGroup.all(Self.options(0..<36, family: .merge), on: backend)
      .map { Set($0.compiled.prefix(1)) }
    let first = try #require(kernels[0].first)
    let second = try #require(kernels[1].first)
    try #require(first != second)
    let pipeline = CasePipeline(
      groups: [([first], [0, 1]), ([second], [2])], others: [3], weight: [first: 1, second: 2])
    func next() -> String {
      switch pipeline.next() {
      case .compile(let key): key == first ? "first" : "second"
      case .check(let number): "\(number)"
      case nil: "none"
      }
    }
    #expect([next(), next(), next()] == ["second", "first", "3"])
    pipeline.finished(first)
    #expect([next(), next()] == ["0", "1"])
    pipeline.finished(second)
    #expect([next(), next()] == ["2", "none"])
    #expect(pipeline.compilation.kernelCount == 2)
    pipeline.stop()
    #expect(next() == "none")
  }
}
