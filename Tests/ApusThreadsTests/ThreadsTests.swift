import ApusThreads
import Testing

@Suite struct ThreadsTests {
  private enum Failure: Error, Equatable { case item(Int) }

  @Test(arguments: [0, 1, 3, 64])
  func `each index is called once, on any number of threads`(threads: Int) {
    let calls = Lock([Int](repeating: 0, count: 50))
    withThreads(threads, indices: 50) { index in calls.withLock { $0[index] += 1 } }
    #expect(calls.withLock { $0 } == [Int](repeating: 1, count: 50))
    withThreads(threads, indices: 0) { _ in calls.withLock { $0[0] += 1 } }
    #expect(calls.withLock { $0[0] } == 1)
  }

  @Test(arguments: [1, 4])
  func `results keep the order of their items`(threads: Int) {
    let doubled = concurrentMap(Array(0..<50), threadCount: threads) { 2 * $0 }
    #expect(doubled == (0..<50).map { 2 * $0 })
    #expect(concurrentMap([Int](), threadCount: threads) { $0 } == [])
    // A result may be an optional without content.
    let none = concurrentMap([1, 2], threadCount: threads) { $0 == 1 ? nil : $0 }
    #expect(none == [nil, 2])
  }

  @Test(arguments: [1, 4])
  func `the error of the first item that has one is thrown when all have been tried`(threads: Int) {
    let tried = Lock(0)
    #expect(throws: Failure.item(2)) {
      try concurrentMap(Array(0..<9), threadCount: threads) { (item) throws(Failure) in
        tried.withLock { $0 += 1 }
        if item > 1 { throw Failure.item(item) }
      }
    }
    #expect(tried.withLock { $0 } == 9)
  }
}
