import ApusCUDA
import ApusCUDATestSupport
import Synchronization
import Testing

@Suite struct ModuleCacheTests {
  @Test func `a value is made once per key and context`() throws {
    let machine = try Machine()
    let (first, second) = (try machine.context(0), try machine.context(1))
    let cache = ModuleCache<String, Int>()
    var made = 0
    for _ in 0..<2 {
      for (key, context) in [("a", first), ("b", first), ("a", second)] {
        let value = cache.value(for: key, in: context) {
          made += 1
          return made
        }
        #expect(value <= 3)
      }
    }
    #expect(made == 3)
    #expect(cache.count == 3)
    cache.removeAll()
    #expect(cache.count == 0)
  }

  @Test func `threads that want one key get one value`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let cache = ModuleCache<Int, Int>()
    let made = Atomic(0)
    let driver = ModuleCache<Int, Int>()
    // The warm-up of another cache is a way to have many threads.
    let failures = driver.warmUp(Array(0..<64), in: context, threadCount: 8) { index in
      cache.value(for: index % 4, in: context) {
        made.add(1, ordering: .relaxed)
        return index % 4
      }
    }
    #expect(failures.isEmpty)
    #expect(made.load(ordering: .relaxed) == 4)
    for index in 0..<64 { #expect(driver.value(for: index, in: context) { -1 } == index % 4) }
  }

  @Test func `different keys are made at the same time`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let cache = ModuleCache<Int, Int>()
    let arrived = Atomic(0)
    // Each waits until the other has begun: with one lock for all, this would not end.
    let failures = cache.warmUp([0, 1], in: context, threadCount: 2) { key in
      arrived.add(1, ordering: .sequentiallyConsistent)
      while arrived.load(ordering: .sequentiallyConsistent) < 2 {}
      return key
    }
    #expect(failures.isEmpty)
    #expect(cache.count == 2)
  }

  @Test func `a failure is returned with its key and tried again`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let cache = ModuleCache<Int, LoadedModule>()
    let failures = cache.warmUp([0, 1, 2], in: context, threadCount: 3) {
      (key) throws(CUDAError) -> LoadedModule in
      try LoadedModule(
        .ptx(key == 1 ? "nonsense" : CheckKernels.vectorAdd), name: "k\(key)", in: context)
    }
    #expect(failures.map(\.key) == [1])
    #expect(failures.first?.error.code == 218)
    let module = try cache.value(for: 1, in: context) { () throws(CUDAError) in
      try LoadedModule(.ptx(CheckKernels.vectorAdd), name: "again", in: context)
    }
    #expect(module.name == "again")
  }

  @Test func `modules go with the cache`() throws {
    let machine = try Machine()
    do {
      let context = try machine.context()
      let cache = ModuleCache<Int, LoadedModule>()
      for key in 0..<3 {
        _ = try cache.value(for: key, in: context) { () throws(CUDAError) in
          try LoadedModule(.ptx(CheckKernels.vectorAdd), name: "k", in: context)
        }
      }
      #expect(machine.fake.live.count { $0.hasPrefix("module") } == 3)
    }
    #expect(machine.fake.live == [])
  }

  @Test func `nothing to warm up is no work`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let cache = ModuleCache<Int, Int>()
    #expect(cache.warmUp([], in: context, threadCount: 0) { $0 }.isEmpty)
  }
}
