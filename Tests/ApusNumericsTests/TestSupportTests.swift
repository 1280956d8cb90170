import ApusTestSupport
import Testing

struct SplitMix64Tests {
  @Test func `starts the published sequence`() {
    var generator = SplitMix64(seed: 1_234_567)
    let values = (0..<3).map { _ in generator.next() }
    expectEqual(
      values, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423])
  }

  @Test func `equal seeds give equal sequences, others do not`() {
    var first = SplitMix64(seed: 5)
    var second = SplitMix64(seed: 5)
    var third = SplitMix64(seed: 6)
    let values = (0..<8).map { _ in first.next() }
    expectEqual(values, (0..<8).map { _ in second.next() })
    #expect(values != (0..<8).map { _ in third.next() })
  }
}

struct SweepTests {
  private struct Failure: Error {}

  @Test func `visits every combination in order`() {
    var seen: [String] = []
    withEvery("a", in: [1, 2]) { a in
      withEvery("b", in: ["x", "y"]) { b in seen.append("\(a)\(b)") }
    }
    expectEqual(seen, ["1x", "1y", "2x", "2y"])
  }

  @Test func `a failed expectation names its combination`() {
    withKnownIssue {
      withEvery("a", in: [1, 2]) { a in
        withEvery("b", in: [3, 4]) { b in expectEqual(a * b, b * a == 8 ? 0 : a * b, "product") }
      }
    } matching: { issue in
      issue.comments.map(\.rawValue) == ["a: 2, b: 4, product: found 8, expected 0"]
    }
  }

  @Test func `an error names its combination and the sweep goes on`() {
    var visited = 0
    withKnownIssue {
      withEvery("a", in: [1, 2, 3]) { a in
        visited += 1
        if a == 2 { throw Failure() }
      }
    } matching: { issue in
      issue.error is Failure && issue.comments.map(\.rawValue) == ["a: 2"]
    }
    expectEqual(visited, 3)
  }

  @Test func `an empty sweep fails`() {
    withKnownIssue {
      withEvery("a", in: [Int]()) { _ in }
    } matching: { issue in
      issue.comments.map(\.rawValue) == ["no value of a to try"]
    }
  }
}

struct MismatchesTests {
  @Test func `reports the count and the first failures once`() {
    withKnownIssue {
      var mismatches = Mismatches(sampleLimit: 2)
      for value in 0..<10 { mismatches.check(value < 6, "value \(value)") }
      expectEqual(mismatches.count, 4)
      mismatches.expectNone()
    } matching: { issue in
      issue.comments.map(\.rawValue) == ["4 of 10 failed:\nvalue 6\nvalue 7"]
    }
  }

  @Test func `a loop that checked nothing fails`() {
    withKnownIssue {
      Mismatches().expectNone()
    } matching: { issue in
      issue.comments.map(\.rawValue) == ["nothing was checked"]
    }
  }
}
