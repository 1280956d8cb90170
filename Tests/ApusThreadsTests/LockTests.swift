import ApusThreads
import Dispatch
import Testing

@Suite struct LockTests {
  private enum Failure: Error { case asked }

  @Test func `additions from many tasks are all there`() async {
    let lock = Lock(0)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<10_000 { lock.withLock { $0 += 1 } } }
      }
    }
    #expect(lock.withLock { $0 } == 80_000)
  }

  @Test func `an error leaves the lock open and the value as the body left it`() {
    let lock = Lock([1])
    #expect(throws: Failure.asked) {
      try lock.withLock { (value) throws(Failure) in
        value.append(2)
        throw Failure.asked
      }
    }
    #expect(lock.withLock { $0 } == [1, 2])
  }

  @Test func `the value lives as long as its lock`() {
    final class Token: Sendable {}
    weak var token: Token?
    do {
      let made = Token()
      token = made
      let lock = Lock(made)
      #expect(token != nil)
      withExtendedLifetime(lock) {}
    }
    #expect(token == nil)
  }

  @Test func `a closed lock keeps other threads out until it is opened`() {
    let lock = Lock(0)
    let (began, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    lock.close()
    DispatchQueue(label: "other").async {
      began.signal()
      lock.withLock { $0 = 1 }
      ended.signal()
    }
    began.wait()
    #expect(ended.wait(timeout: .now() + .milliseconds(20)) == .timedOut)
    lock.open()
    #expect(ended.wait(timeout: .now() + .seconds(10)) == .success)
    #expect(lock.withLock { $0 } == 1)
  }

  @Test func `a process that nobody forked counts no forks`() {
    #expect(ForkCount.current == 0)
  }
}
