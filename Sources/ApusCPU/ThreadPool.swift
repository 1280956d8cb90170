public import ApusCore
internal import ApusThreads
internal import CApusSIMD
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Persistent worker threads that share the iterations of one loop at a time.
///
/// A call from a second thread while a loop runs does not wait and does not oversubscribe: it runs
/// its own loop alone. Workers sleep between loops. In a forked child, where there are no workers and
/// one may have held the pool's lock, callers run their loops alone.
public final class ThreadPool: Sendable {
  /// Threads that a loop may use, the caller included.
  public let threadCount: Int

  private let isBusy = Atomic<Bool>(false)
  private let forks: Int
  private let shared: SharedState

  /// CPUs that this process may use, at least 1: those of its affinity mask, and no more than the quota
  /// of its control groups has (containers).
  public static var availableCPUs: Int {
    let count = max(Int(capus_available_cpus()), 1)
    return min(count, CPUQuota().cpuCount ?? count)
  }

  /// A pool of the given size, at least 1 and at most 1024.
  public init(threadCount: Int) throws(ArgumentError) {
    guard (1...1024).contains(threadCount) else {
      throw ArgumentError(
        operation: "ThreadPool.init", "threadCount must be in 1…1024", found: "\(threadCount)")
    }
    forks = ForkCount.current
    let shared = SharedState()
    var started = 1
    for index in 1..<max(threadCount, 1) {
      guard shared.startWorker(index) else { break }
      started += 1
    }
    self.shared = shared
    self.threadCount = started
  }

  deinit { if forks == ForkCount.current { shared.stop() } }

  /// Runs `body(iteration, worker)` for every iteration below `count`, in any order, and returns when
  /// all are done. `worker` is below `threadCount` and names the thread among those of this loop.
  public func forEach(
    _ count: Int, parallel: Bool = true,
    _ body: @escaping @Sendable (_ iteration: Int, _ worker: Int) -> Void
  ) {
    let wantsHelp = parallel && threadCount > 1 && count > 1
    guard
      wantsHelp, forks == ForkCount.current,
      isBusy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    else {
      for iteration in 0..<max(count, 0) { body(iteration, 0) }
      return
    }
    shared.run(count: count, helpers: min(threadCount, count) - 1, body)
    isBusy.store(false, ordering: .releasing)
  }
}

/// What the caller and the workers share. Workers keep it alive after the pool is gone.
///
/// `@unchecked Sendable`: mutable fields are guarded by `lock`; `next` is atomic.
private final class SharedState: @unchecked Sendable {
  typealias Body = @Sendable (Int, Int) -> Void

  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  private let wake: UnsafeMutablePointer<pthread_cond_t>
  private let done: UnsafeMutablePointer<pthread_cond_t>
  private let next = Atomic<Int>(0)
  /// Bumped for each loop, so that waiting workers can spin on it briefly before they sleep.
  private let generation = Atomic<Int>(0)
  /// Helpers inside the current loop. A helper that wakes after the loop was closed never joins.
  private let joined = Atomic<Int>(0)
  private var body: Body?
  private var count = 0
  private var helperLimit = 0
  private var isStopping = false

  init() {
    lock = .allocate(capacity: 1)
    wake = .allocate(capacity: 1)
    done = .allocate(capacity: 1)
    pthread_mutex_init(lock, nil)
    pthread_cond_init(wake, nil)
    pthread_cond_init(done, nil)
  }

  deinit {
    pthread_cond_destroy(done)
    pthread_cond_destroy(wake)
    pthread_mutex_destroy(lock)
    done.deallocate()
    wake.deallocate()
    lock.deallocate()
  }

  /// Starts worker `index`; false when the system refuses another thread.
  func startWorker(_ index: Int) -> Bool {
    let start = Unmanaged.passRetained(WorkerStart(shared: self, index: index))
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let status = pthread_create(&thread, nil, workerMain, start.toOpaque())
    guard status == 0 else {
      start.release()
      return false
    }
    #if canImport(Darwin)
      if let thread { pthread_detach(thread) }
    #else
      pthread_detach(thread)
    #endif
    return true
  }

  func run(count: Int, helpers: Int, _ body: @escaping Body) {
    pthread_mutex_lock(lock)
    self.body = body
    self.count = count
    next.store(0, ordering: .relaxed)
    helperLimit = helpers
    generation.wrappingAdd(1, ordering: .releasing)
    pthread_cond_broadcast(wake)
    pthread_mutex_unlock(lock)

    drain(body, count, worker: 0)

    pthread_mutex_lock(lock)
    self.body = nil
    pthread_mutex_unlock(lock)
    spin(2000, while: { joined.load(ordering: .acquiring) > 0 })
    pthread_mutex_lock(lock)
    while joined.load(ordering: .acquiring) > 0 { pthread_cond_wait(done, lock) }
    pthread_mutex_unlock(lock)
  }

  func stop() {
    pthread_mutex_lock(lock)
    isStopping = true
    generation.wrappingAdd(1, ordering: .releasing)
    pthread_cond_broadcast(wake)
    pthread_mutex_unlock(lock)
  }

  private func drain(_ body: Body, _ count: Int, worker: Int) {
    while true {
      let iteration = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard iteration < count else { return }
      body(iteration, worker)
    }
  }

  func workerLoop(_ index: Int) {
    var seen = 0
    while true {
      spin(4000, while: { generation.load(ordering: .acquiring) == seen })
      pthread_mutex_lock(lock)
      while generation.load(ordering: .acquiring) == seen && !isStopping {
        pthread_cond_wait(wake, lock)
      }
      seen = generation.load(ordering: .acquiring)
      let mine = isStopping || index > helperLimit ? nil : body
      let count = count
      let stopping = isStopping
      if mine != nil { joined.wrappingAdd(1, ordering: .acquiringAndReleasing) }
      pthread_mutex_unlock(lock)
      if stopping { return }
      guard let mine else { continue }
      drain(mine, count, worker: index)
      if joined.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
        pthread_mutex_lock(lock)
        pthread_cond_signal(done)
        pthread_mutex_unlock(lock)
      }
    }
  }

  /// Waits while `condition` holds, `turns` turns at most, without a call to the kernel.
  @inline(__always) private func spin(_ turns: Int, while condition: () -> Bool) {
    var left = turns
    while left > 0 && condition() {
      for _ in 0..<8 { _ = generation.load(ordering: .relaxed) }
      left -= 1
    }
  }
}

private final class WorkerStart {
  let shared: SharedState
  let index: Int

  init(shared: SharedState, index: Int) {
    self.shared = shared
    self.index = index
  }
}

#if canImport(Darwin)
  private func workerMain(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let start = Unmanaged<WorkerStart>.fromOpaque(argument).takeRetainedValue()
    start.shared.workerLoop(start.index)
    return nil
  }
#else
  private func workerMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<WorkerStart>.fromOpaque(argument).takeRetainedValue()
    start.shared.workerLoop(start.index)
    return nil
  }
#endif
