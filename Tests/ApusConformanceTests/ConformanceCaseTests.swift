import ApusConformance
import ApusTestSupport
import Testing

@Suite struct ConformanceCaseTests {
  @Test func `a case depends on seed and index alone`() {
    for index in [0, 1, 17, 1999] {
      let first = ConformanceCase(seed: 7, index: index)
      #expect(first == ConformanceCase(seed: 7, index: index))
      #expect(first.content != ConformanceCase(seed: 8, index: index).content)
      #expect(first.description.hasPrefix("seed 7 case \(index): "))
    }
  }

  @Test func `the data of a case depends on seed and index alone`() {
    for index in 0..<50 {
      let value = ConformanceCase(seed: 5, index: index, size: .small)
      // The margin is a function of every input and output.
      #expect(value.check(on: ReferenceBackend()) == value.check(on: ReferenceBackend()))
    }
  }

  @Test func `2000 cases meet every value of every axis at least 20 times`() {
    let coverage = Coverage((0..<2000).map { ConformanceCase(seed: 1, index: $0) })
    #expect(coverage.caseCount == 2000)
    #expect(coverage.gaps(minimum: 20) == [])
    #expect(coverage.crossingShare >= 0.1)
    for kind in ["tile", "page", "split"] {
      #expect(coverage.crossings[kind, default: 0] >= 200, "\(kind)")
    }
    #expect(Set(stride(from: 8, through: 576, by: 8)).subtracting(coverage.headDims) == [])
  }

  @Test func `small cases lack long contexts alone`() {
    let coverage = Coverage((0..<2000).map { ConformanceCase(seed: 1, index: $0, size: .small) })
    let lengths = ["255", "256", "257", "511", "512", "513", "1000..."]
    #expect(coverage.gaps(minimum: 1) == lengths.map { "kv length \($0): 0" })
  }

  @Test func `coverage names the values that are missing`() {
    let coverage = Coverage([ConformanceCase]())
    let gaps = coverage.gaps(minimum: 1)
    #expect(gaps.contains("page size 100: 0"))
    #expect(gaps.contains("packbits big: 0"))
    #expect(coverage.crossingShare == 0)
  }

  @Test func `a stream of random numbers is the same everywhere`() {
    var random = CaseRandom(seed: 1, stream: 2)
    let found = (0..<3).map { _ in random.next() }
    #expect(
      found == [
        15_217_248_363_828_545_760, 16_392_149_277_473_442_541, 6_311_331_351_527_125_646,
      ])
    var other = CaseRandom(seed: 1, stream: 3)
    #expect(other.next() != found[0])
  }
}
