import Testing

@testable import ApusCLI

@Suite struct BenchTimingTests {
  @Test func `statistics are nearest-rank`() throws {
    let ten = try #require(BenchStatistics((1...10).map(Double.init).shuffled()))
    #expect(ten.minSeconds == 1)
    #expect(ten.medianSeconds == 5.5)
    #expect(ten.p90Seconds == 9)
    #expect(ten.repetitions == 10)
    let three = try #require(BenchStatistics([3, 1, 2]))
    #expect(three.medianSeconds == 2)
    #expect(three.p90Seconds == 3)
    let one = try #require(BenchStatistics([7]))
    #expect(one == BenchStatistics([7]))
    #expect([one.minSeconds, one.medianSeconds, one.p90Seconds] == [7, 7, 7])
    #expect(BenchStatistics([]) == nil)
  }

  @Test func `calls rotate through the input sets, warm-ups included`() throws {
    var sets: [Int] = []
    let prepared = BenchPrepared(inputSetCount: 3) { sets.append($0) }
    let policy = BenchPolicy(
      warmUps: 2, minimumRepetitions: 5, maximumRepetitions: 5, secondsPerCase: 0)
    let samples = try prepared.measure(policy)
    #expect(samples.count == 5)
    #expect(sets == [0, 1, 2, 0, 1, 2, 0])
  }

  @Test func `the greatest number of repetitions ends a fast case`() throws {
    var calls = 0
    let prepared = BenchPrepared(inputSetCount: 1) { _ in calls += 1 }
    let policy = BenchPolicy(
      warmUps: 0, minimumRepetitions: 1, maximumRepetitions: 9, secondsPerCase: 3600)
    #expect(try prepared.measure(policy).count == 9)
    #expect(calls == 9)
  }

  @Test(arguments: [
    (bytes: 100, rotation: 0, sets: 1), (bytes: 100, rotation: 99, sets: 1),
    (bytes: 100, rotation: 100, sets: 2), (bytes: 100, rotation: 250, sets: 3),
    (bytes: 0, rotation: 0, sets: 1),
  ])
  func `input sets together exceed the rotation`(
    _ item: (bytes: Int, rotation: Int, sets: Int)
  ) {
    let sets = BenchPreparer.inputSetCount(
      byteCount: item.bytes, rotationByteCount: item.rotation)
    #expect(sets == item.sets)
  }
}
