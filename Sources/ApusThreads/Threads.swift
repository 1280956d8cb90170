internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Calls `body` once for each of `0 ..< indices`, on `count` threads of which the caller is one, and
/// returns when all calls have.
///
/// Plain threads, because what is called may block for seconds (a driver's compiler), which Swift's
/// cooperative pool must not. A thread that cannot be started leaves its work to the others.
public func withThreads(_ count: Int, indices: Int, _ body: @Sendable (Int) -> Void) {
  // The closure outlives no thread: all are joined below.
  withoutActuallyEscaping(body) { body in
    let team = Team(indices: indices, body: body)
    var threads: [pthread_t] = []
    for _ in 1..<max(1, count) {
      #if canImport(Darwin)
        var thread: pthread_t?
      #else
        var thread = pthread_t()
      #endif
      let argument = Unmanaged.passRetained(team).toOpaque()
      let status = pthread_create(&thread, nil, runTeam, argument)
      if status != 0 {
        Unmanaged<Team>.fromOpaque(argument).release()
        break
      }
      #if canImport(Darwin)
        if let thread { threads.append(thread) }
      #else
        threads.append(thread)
      #endif
    }
    team.run()
    for thread in threads { pthread_join(thread, nil) }
  }
}

/// `items.map(body)` on `threadCount` threads, of which the caller is one; throws the error of the first
/// item that has one, when all have been tried.
public func concurrentMap<Item: Sendable, Result: Sendable, Failure: Error>(
  _ items: [Item], threadCount: Int, _ body: @Sendable (Item) throws(Failure) -> Result
) throws(Failure) -> [Result] {
  let results = Lock([Swift.Result<Result, Failure>?](repeating: nil, count: items.count))
  withThreads(min(threadCount, items.count), indices: items.count) { index in
    let result = Swift.Result { () throws(Failure) in try body(items[index]) }
    results.withLock { $0[index] = result }
  }
  var values: [Result] = []
  // Every index has its result: `withThreads` returned.
  for result in results.withLock({ $0 }) {
    if let value = try result?.get() { values.append(value) }
  }
  return values
}

private final class Team: Sendable {
  private let next = Atomic(0)
  private let indices: Int
  private let body: @Sendable (Int) -> Void

  init(indices: Int, body: @escaping @Sendable (Int) -> Void) {
    self.indices = indices
    self.body = body
  }

  func run() {
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      if index >= indices { return }
      body(index)
    }
  }
}

#if canImport(Darwin)
  private func runTeam(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    Unmanaged<Team>.fromOpaque(argument).takeRetainedValue().run()
    return nil
  }
#else
  private func runTeam(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument { Unmanaged<Team>.fromOpaque(argument).takeRetainedValue().run() }
    return nil
  }
#endif
