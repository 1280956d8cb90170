import ApusCUDA
import ApusCUDATestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Each call of a run through the whole runtime fails, one at a time.
@Suite struct ErrorInjectionTests {
  /// Uses every part of the runtime once and gives everything back. Handles are released in `deinit`.
  static func scenario(_ machine: Machine) throws(CUDAError) {
    let context = try machine.context(0)
    let second = try machine.context(1)
    _ = try context.device.pciAddress()
    _ = try context.device.canAccess(second.device)
    try context.enablePeerAccess(to: second)
    let priorities = try context.streamPriorities()
    let stream = try Stream(in: context, priority: priorities.lowerBound)
    _ = try Stream(borrowing: stream.handle, in: context)
    _ = try stream.priority()
    let function = try machine.vectorAdd(in: context)
    _ = try function.attributes()
    try function.setMaxDynamicShared(byteCount: 100_000)
    try function.allowNonPortableClusters()
    _ = try function.maxActiveBlocks(threadsPerBlock: 64)
    _ = try function.maxActiveClusters(LaunchConfiguration(grid: 2, block: 64, cluster: 2))
    let input = try DeviceBuffer(byteCount: 64, in: context)
    let output = try DeviceBuffer(byteCount: 64, on: stream)
    let far = try DeviceBuffer(byteCount: 64, in: second)
    let pinned = try PinnedBuffer(byteCount: 64, in: context)
    try context.copy([Float](repeating: 1, count: 16), to: input.view)
    try stream.fill(output.view, byte: 0)
    try stream.fill(output.view, word: 0)
    try stream.copy(from: input.view, to: output.view)
    try stream.copy(from: output.view, to: pinned.bytes)
    try stream.copy(from: UnsafeRawBufferPointer(pinned.bytes), to: output.view)
    try stream.copy(from: output.view, in: context, to: far.view, in: second)
    var arguments = KernelArguments()
    arguments.append(input.view)
    arguments.append(input.view)
    arguments.append(output.view)
    arguments.append(UInt32(16))
    let configuration = LaunchConfiguration(grid: 1, block: 16)
    let start = try Event(in: context)
    let end = try Event(in: context, blocking: true)
    try start.record(on: stream)
    try function.launch(configuration, arguments, on: stream)
    try end.record(on: stream)
    try stream.wait(for: end)
    _ = try end.isComplete()
    try end.synchronize()
    _ = try end.milliseconds(since: start)
    _ = try TensorMap(
      TensorMapDescription(
        .f32, memory: input.view, dimensions: [16], byteStrides: [], box: [16]), in: context)
    let kept = Kept()
    let graph = try stream.capture { () throws(CUDAError) in
      try function.launch(configuration, arguments, on: stream)
      try stream.keepInCapture(kept)
    }
    _ = try stream.isCapturing()
    _ = try graph.nodeCount()
    let executable = try graph.instantiate()
    _ = try executable.update(from: graph)
    try executable.upload(on: stream)
    try executable.launch(on: stream)
    _ = try stream.isIdle()
    try stream.synchronize()
    try context.synchronize()
    _ = try context.memory()
    var values = [Float](repeating: 0, count: 16)
    try context.copy(from: output.view, to: &values)
    try output.free()
    try context.withCurrent("test") { () throws(CUDAError) in
      _ = try Context.current(of: machine.driver)
    }
  }

  private final class Kept: Sendable {}

  static let releases: Set<String> = [
    "cuCtxPopCurrent", "cuDevicePrimaryCtxRelease", "cuStreamDestroy", "cuEventDestroy",
    "cuMemFree", "cuMemFreeHost", "cuModuleUnload", "cuGraphDestroy", "cuGraphExecDestroy",
  ]

  /// Statuses that are answers, not errors.
  static func isAnswer(_ function: String, _ status: Int32) -> Bool {
    switch (function, status) {
    case ("cuStreamQuery", 600), ("cuEventQuery", 600), ("cuGraphExecUpdate", 910),
      ("cuCtxEnablePeerAccess", 704):
      true
    default: false
    }
  }

  @Test func `the scenario passes, leaks nothing and calls every function of the table`() throws {
    let machine = try Machine()
    try Self.scenario(machine)
    #expect(machine.fake.live == [])
    #expect(machine.log.releaseErrors == [])
    var names: Set<String> = []
    let place = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    defer { place.deallocate() }
    _ = try DriverTable.load { name, _ in
      names.insert(name)
      return place
    }
    // Words for errors are asked for by every injection; no module of the fake has a global.
    // A user object is only given back after a failure, and captures are relaxed in tests of theirs.
    let others: Set = [
      "cuGetErrorName", "cuGetErrorString", "cuModuleGetGlobal", "cuUserObjectRelease",
      "cuThreadExchangeStreamCaptureMode",
    ]
    #expect(names.subtracting(machine.fake.calls).subtracting(others) == [])
  }

  /// Statuses with a meaning of their own somewhere, and two without.
  static let telling: Set<Int32> = [2, 600, 704, 910, 999]

  // The runtime knows a status by its function alone, so the first call of each function meets all
  // of them and its other calls, which differ in what is alive, the telling ones. With the variable
  // every call meets all: half a minute.
  @Test func `every status at every function is a typed error and leaks nothing`() throws {
    let dry = try Machine()
    try Self.scenario(dry)
    let calls = dry.fake.calls
    let isFull = getenv("APUS_FULL_INJECTION") != nil
    var met: Set<String> = []
    for (index, function) in calls.enumerated() {
      let isFirst = met.insert(function).inserted
      for (status, name) in DriverStatuses.all
      where isFull || isFirst || Self.telling.contains(status) {
        let place = Comment(rawValue: "call \(index), \(function), returns \(status)")
        let fake = FakeDriver(injection: .init(index: index, status: status))
        let log = EventLog()
        let error = thrown { () throws(CUDAError) in
          let driver = try Driver(table: fake.table) { log.append($0) }
          try Self.scenario(Machine(fake: fake, driver: driver, log: log))
        }
        let reported = log.releaseErrors
        // What the failing release held stays, and nothing else does.
        let leaks = fake.live
        if Self.isAnswer(function, status) {
          #expect(error == nil && reported.isEmpty && leaks.isEmpty, place)
          continue
        }
        let isRelease = Self.releases.contains(function)
        let seen = [error].compactMap { $0 } + reported
        guard let first = seen.first, seen.count == 1 else {
          Issue.record("\(seen.count) errors at \(place)")
          continue
        }
        #expect(first.code == status, place)
        #expect(first.name == "\(name)", place)
        #expect(first.function == function, place)
        #expect(!first.operation.isEmpty, place)
        #expect(leaks.count <= (isRelease || function == "cuMemFreeAsync" ? 1 : 0), place)
        if function == "cuModuleLoadDataEx" { #expect(first.log != nil, place) }
      }
    }
    #expect(met.count > 60)
    #expect(DriverStatuses.all.count > 100)
  }
}

extension Machine {
  init(fake: FakeDriver, driver: Driver, log: EventLog) {
    self.fake = fake
    self.driver = driver
    self.log = log
  }
}
