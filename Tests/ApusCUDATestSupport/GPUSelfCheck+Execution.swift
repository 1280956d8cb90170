internal import ApusCUDA
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension GPUSelfCheck {
  func checkGraphs() throws -> String {
    let function = try Self.vectorAdd(in: context)
    let work = try VectorAdd(count: 10_007, in: context)
    let stream = try Stream(in: context)
    let first = work.configuration
    let second = work.arguments
    let graph = try stream.capture { () throws(CUDAError) in
      try stream.fill(work.c.view, byte: 0xFF)
      try function.launch(first, second, on: stream)
    }
    let nodes = try graph.nodeCount()
    try require(nodes == 2, "\(nodes) nodes")
    try require(try !stream.isCapturing(), "the capture did not end")
    let executable = try graph.instantiate()
    try executable.upload(on: stream)
    for _ in 0..<3 { try executable.launch(on: stream) }
    try stream.synchronize()
    let wrong = try work.wrongCount(in: context)
    try require(wrong == 0, "\(wrong) sums are wrong")
    // The same shape with other parameters: c = b + a into other memory.
    let output = try DeviceBuffer(byteCount: 4 * work.count, in: context)
    var arguments = work.arguments
    try arguments.replace(2, with: output.view)
    let place = output.view
    let other = try stream.capture { () throws(CUDAError) in
      try stream.fill(place, byte: 0)
      try function.launch(first, arguments, on: stream)
    }
    try require(try executable.update(from: other) == .updated, "an equal shape did not update")
    try executable.launch(on: stream)
    try stream.synchronize()
    var found = [Float](repeating: .nan, count: work.count)
    try context.copy(from: output.view, to: &found)
    try require(
      found.indices.allSatisfy { found[$0] == Float($0) + (Float($0) * 0.5 + 1) },
      "the updated graph wrote elsewhere")
    let shorter = try stream.capture { () throws(CUDAError) in
      try stream.fill(place, byte: 0)
    }
    let update = try executable.update(from: shorter)
    try require(update != .updated, "a graph of another shape updated")
    return "2 nodes, 3 replays, update of parameters, refusal of another shape (\(update))"
  }

  func checkStreamKinds() throws -> String {
    let function = try Self.vectorAdd(in: context)
    let own = try Stream(in: context)
    let streams = [
      Stream.legacyDefault(of: context), Stream.perThreadDefault(of: context),
      try Stream(borrowing: own.handle, in: context),
    ]
    for stream in streams {
      let work = try VectorAdd(count: 1000, in: context)
      try function.launch(work.configuration, work.arguments, on: stream)
      try stream.synchronize()
      try require(try stream.isIdle(), "stream \(stream.handle) has work after synchronize")
      let wrong = try work.wrongCount(in: context)
      try require(wrong == 0, "stream \(stream.handle): \(wrong) sums are wrong")
    }
    return "legacy, per-thread and borrowed streams"
  }

  func checkCurrentContext() throws -> String {
    let before = try Context.current(of: driver)?.handle
    _ = try checkVectorAdd(in: context)
    let after = try Context.current(of: driver)?.handle
    try require(before == after, "the thread's context changed")
    let adopted = try context.withCurrent("GPUSelfCheck") { () throws(CUDAError) in
      try Context.current(of: driver)
    }
    guard let adopted else { throw Stop.failed("no current context inside withCurrent") }
    try require(adopted.handle == context.handle, "another context was adopted")
    try require(adopted.isRetained, "a primary context must be retained when adopted")
    return "unchanged by operations; the primary one is adopted and retained"
  }

  func checkThreads() throws -> String {
    let function = try Self.vectorAdd(in: context)
    let cache = ModuleCache<Int, Int>()
    let context = context
    // The warm-up's threads start without a context, as a server's workers do.
    let failures = cache.warmUp(Array(0..<32), in: context, threadCount: 8) {
      (index) throws(CUDAError) -> Int in
      let work = try VectorAdd(count: 10_000 + index, in: context)
      let stream = try Stream(in: context)
      for _ in 0..<10 { try function.launch(work.configuration, work.arguments, on: stream) }
      try stream.synchronize()
      return try work.wrongCount(in: context)
    }
    try require(failures.isEmpty, "\(failures)")
    for index in 0..<32 {
      let wrong = cache.value(for: index, in: context) { -1 }
      try require(wrong == 0, "index \(index): \(wrong) sums are wrong")
    }
    return "32 streams on 8 threads, 10 launches each"
  }

  func checkWarmUp() throws -> String {
    let cache = ModuleCache<Int, LoadedModule>()
    let context = context
    let stamp = ContinuousClock.now
    let start = ContinuousClock.now
    let failures = cache.warmUp(Array(0..<8), in: context, threadCount: 4) {
      (index) throws(CUDAError) -> LoadedModule in
      try LoadedModule(
        .ptx(CheckKernels.vectorAdd + "// \(index) \(stamp)\n"), name: "vector_add", in: context)
    }
    let elapsed = ContinuousClock.now - start
    try require(failures.isEmpty, "\(failures)")
    var sum: UInt64 = 0
    for index in 0..<8 {
      let module = try cache.value(for: index, in: context) { () throws(Stop) -> LoadedModule in
        throw .failed("module \(index) was not kept")
      }
      sum += module.loadNanoseconds
    }
    return "8 modules on 4 threads in \(elapsed), \(sum / 1_000_000) ms of compilation"
  }

  func checkSecondDevice() throws -> String {
    guard contexts.count > 1 else { throw Stop.skipped("there is one device") }
    let second = contexts[1]
    // With the first device current, as a program that only knows device 0 leaves it.
    let detail = try withFirstCurrent { try checkVectorAdd(in: second) }
    let function = try Self.vectorAdd(in: second)
    let stream = try Stream(in: context)
    let work = try VectorAdd(count: 16, in: second)
    let configuration = work.configuration
    let arguments = work.arguments
    let refused = try error { () throws(CUDAError) in
      try function.launch(configuration, arguments, on: stream)
    }
    try require(refused.kernel == "vector_add", "\(refused)")
    let borrowed = try error { () throws(CUDAError) in
      _ = try Stream(borrowing: stream.handle, in: second)
    }
    return "\(detail); then: \(refused) \(borrowed)"
  }

  func checkPeerCopies() throws -> String {
    guard contexts.count > 1 else { throw Stop.skipped("there is one device") }
    let second = contexts[1]
    let values = (0..<65_537).map { UInt32($0) &* 7 }
    let here = try DeviceBuffer(byteCount: 4 * values.count, in: context)
    let there = try DeviceBuffer(byteCount: 4 * values.count, in: second)
    try context.copy(values, to: here.view)
    let stream = try Stream(in: context)
    try stream.copy(from: here.view, in: context, to: there.view, in: second)
    try stream.synchronize()
    var found = [UInt32](repeating: 0, count: values.count)
    try second.copy(from: there.view, to: &found)
    try require(found == values, "values changed between the devices")
    guard try context.device.canAccess(second.device) else {
      return "\(values.count) words; no peer access"
    }
    try context.enablePeerAccess(to: second)
    try context.enablePeerAccess(to: second)
    return "\(values.count) words; peer access enabled twice"
  }

  private func withFirstCurrent(_ body: () throws -> String) throws -> String {
    var result: Result<String, any Error> = .success("")
    try context.withCurrent("GPUSelfCheck") { () throws(CUDAError) in
      result = Result { try body() }
    }
    return try result.get()
  }
}
