import ApusCPU
import ApusCore
import ApusTestSupport
import Synchronization
import Testing

@Suite struct ThreadPoolTests {
  /// Atomics in a box that closures can share.
  final class Counters: Sendable {
    let values: [Box]

    final class Box: Sendable {
      let count = Atomic<Int>(0)
    }

    init(_ count: Int) { values = (0..<count).map { _ in Box() } }
  }

  @Test func `every iteration runs exactly once`() throws {
    for threads in [1, 2, 3, 7] {
      let pool = try ThreadPool(threadCount: threads)
      for count in [0, 1, 2, 5, 100, 1000] {
        let counters = Counters(count)
        pool.forEach(count) { index, _ in
          counters.values[index].count.wrappingAdd(1, ordering: .relaxed)
        }
        #expect(counters.values.allSatisfy { $0.count.load(ordering: .relaxed) == 1 })
      }
    }
  }

  @Test func `worker numbers are below the thread count and never shared at one time`() throws {
    let pool = try ThreadPool(threadCount: 4)
    let inside = Counters(4)
    let clashes = Counters(1)
    pool.forEach(2000) { _, worker in
      let before = inside.values[worker].count.wrappingAdd(1, ordering: .relaxed).oldValue
      if before != 0 { clashes.values[0].count.wrappingAdd(1, ordering: .relaxed) }
      inside.values[worker].count.wrappingSubtract(1, ordering: .relaxed)
    }
    #expect(clashes.values[0].count.load(ordering: .relaxed) == 0)
  }

  @Test func `results of a loop are visible when it returns`() throws {
    let pool = try ThreadPool(threadCount: 3)
    let storage = UnsafeMutablePointer<Int>.allocate(capacity: 512)
    defer { storage.deallocate() }
    let address = UInt(bitPattern: storage)
    for round in 1...50 {
      pool.forEach(512) { index, _ in
        UnsafeMutablePointer<Int>(bitPattern: address)?[index] = round * index
      }
      #expect((0..<512).allSatisfy { storage[$0] == round * $0 })
    }
  }

  @Test func `loops from several tasks and nested loops all finish`() async throws {
    let pool = try ThreadPool(threadCount: 2)
    let total = Counters(1)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<20 {
            pool.forEach(10) { _, _ in
              pool.forEach(3) { _, _ in
                total.values[0].count.wrappingAdd(1, ordering: .relaxed)
              }
            }
          }
        }
      }
    }
    #expect(total.values[0].count.load(ordering: .relaxed) == 8 * 20 * 10 * 3)
  }

  @Test func `a thread count outside 1 to 1024 is refused`() {
    for count in [0, -1, 1025, Int.max] {
      let error = #expect(throws: ArgumentError.self) { _ = try ThreadPool(threadCount: count) }
      #expect(
        error?.description == "ThreadPool.init: threadCount must be in 1…1024; found \(count).")
    }
  }

  @Test func `pools come and go without leaking a loop`() throws {
    for _ in 0..<50 {
      let pool = try ThreadPool(threadCount: 3)
      let counters = Counters(8)
      pool.forEach(8) { index, _ in
        counters.values[index].count.wrappingAdd(1, ordering: .relaxed)
      }
      #expect(counters.values.allSatisfy { $0.count.load(ordering: .relaxed) == 1 })
    }
  }

  @Test func `at least one CPU is available`() {
    #expect(ThreadPool.availableCPUs >= 1)
  }
}
