import Apus
import ApusCUDA
import ApusCUDATestSupport
import Dispatch
import Testing

/// What the CUDA back end does while streams are captured.
@Suite struct CaptureTests {
  /// An append of one token to each of `count` requests of one page.
  struct Append {
    let problem: AppendProblem
    let arguments: AppendArguments
    let tensors: [DeviceTensor]

    init(_ launcher: CUDALauncher, count: Int = 1, value: Float = 1) throws {
      let keys = try DeviceTensor(
        .bf16, [count, 1, 8], on: launcher,
        values: [Float](repeating: value, count: 8 * count))
      let cache = try (0..<2).map { _ in try DeviceTensor(.bf16, [count, 1, 1, 8], on: launcher) }
      tensors = [keys] + cache
      problem = AppendProblem(
        kvHeadCount: 1, headDimK: 8, sourceType: .bf16, cacheType: .bf16,
        table: PageTable(
          pageSize: 1, indptr: RaggedIndptr(uniform: 1, batch: count),
          indices: (0..<count).map { Int32($0) },
          lastPageLength: [Int32](repeating: 1, count: count)),
        batchIndices: (0..<count).map { Int32($0) }, positions: [Int32](repeating: 0, count: count))
      arguments = AppendArguments(
        keys: keys.view, values: keys.view,
        cache: .separate(k: cache[0].view, v: cache[1].view))
    }

    /// Captures the append into a graph.
    func captured(on machine: SimulatedDriver, _ stream: Stream) throws -> ExecutableGraph {
      try stream.capture { () throws(CUDAError) in
        do throws(ApusError) {
          try machine.backend.append(problem, arguments, on: .device(handle: stream.handle))
        } catch {
          Issue.record(error)
        }
      }.instantiate()
    }

    func values(on machine: SimulatedDriver) throws -> [Float] {
      try tensors[1].values(on: machine.launcher)
    }
  }

  @Test func `any number of captured appends keep their lists, until their graphs go`() throws {
    let machine = try SimulatedDriver()
    let stream = try Stream(in: machine.launcher.context)
    // The kernel is compiled before any capture.
    let first = try Append(machine.launcher)
    try machine.backend.append(first.problem, first.arguments, on: .synchronous)
    let appends = try (0..<24).map { try Append(machine.launcher, value: Float($0 + 1)) }
    let blocksBefore = machine.fake.calls.count { $0 == "cuMemHostAlloc" }
    do {
      let graphs = try appends.map { Held(try $0.captured(on: machine, stream)) }
      // A list lies still until its graph goes: each replay finds its own.
      for graph in graphs.reversed() { try graph.value.launch(on: stream) }
      for (index, append) in appends.enumerated() {
        #expect(
          try append.values(on: machine) == [Float](repeating: Float(index + 1), count: 8))
      }
    }
    let blocks = machine.fake.calls.count { $0 == "cuMemHostAlloc" } - blocksBefore
    #expect(blocks == 24)
    // The graphs are gone: new ones take their blocks.
    for append in appends { _ = try append.captured(on: machine, stream) }
    #expect(machine.fake.calls.count { $0 == "cuMemHostAlloc" } - blocksBefore == 24)
    #expect(machine.errors.isEmpty)
    withExtendedLifetime((first, stream)) {}
  }

  private final class Held {
    let value: ExecutableGraph
    init(_ value: consuming ExecutableGraph) { self.value = value }
  }

  /// The fake runs destructors as a driver does: a call from one would wait for itself.
  @Test func `a graph may outlive its back end`() throws {
    func captured() throws -> (Held, FakeDriver) {
      let machine = try SimulatedDriver()
      let stream = try Stream(in: machine.launcher.context)
      let append = try Append(machine.launcher)
      try machine.backend.append(append.problem, append.arguments, on: .synchronous)
      return (Held(try append.captured(on: machine, stream)), machine.fake)
    }
    var (graph, fake): (Held?, FakeDriver) = try captured()
    #expect(graph != nil)
    let calls = fake.calls.count { $0 == "cuMemFreeHost" }
    graph = nil
    // The next back end frees what the last one left, be it of this test or of one beside it.
    _ = try SimulatedDriver()
    let deadline = ContinuousClock.now + .seconds(10)
    while fake.calls.count(where: { $0 == "cuMemFreeHost" }) == calls, .now < deadline {}
    #expect(fake.calls.count { $0 == "cuMemFreeHost" } == calls + 1)
  }

  @Test func `a captured list may be longer than a slot of the ring`() throws {
    let machine = try SimulatedDriver()
    let stream = try Stream(in: machine.launcher.context)
    let append = try Append(machine.launcher, count: 6000, value: 3)
    try machine.backend.append(append.problem, append.arguments, on: .synchronous)
    let graph = try append.captured(on: machine, stream)
    let view = append.tensors[1].view
    let zeros = [UInt8](repeating: 0, count: view.byteCount)
    try machine.launcher.context.copy(
      zeros, to: DeviceView(address: UInt64(view.address), byteCount: view.byteCount))
    try graph.launch(on: stream)
    #expect(try append.values(on: machine) == [Float](repeating: 3, count: 48_000))
    #expect(machine.errors.isEmpty)
  }

  @Test func `work of other threads leaves a capture in global mode alone`() throws {
    let machine = try SimulatedDriver()
    let launcher = machine.launcher
    let stream = try Stream(in: launcher.context)
    let append = try Append(launcher)
    let other = try Append(launcher)
    try machine.backend.append(append.problem, append.arguments, on: .synchronous)
    try stream.beginCapture(mode: .global)
    try machine.backend.append(
      append.problem, append.arguments, on: .device(handle: stream.handle))
    let done = DispatchSemaphore(value: 0)
    // A thread of its own: captures belong to threads.
    DispatchQueue(label: "other").async {
      do {
        // Compiles, allocates, uploads, asks events and waits.
        let otherStream = try Stream(in: launcher.context)
        for _ in 0..<40 {
          try machine.backend.append(
            other.problem, other.arguments, on: .device(handle: otherStream.handle))
        }
        try machine.backend.append(other.problem, other.arguments, on: .synchronous)
        let planned = try SinglePrefill.plan(
          shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
          types: AttentionTypes(q: .f32), qoLength: 2, kvLength: 3, on: machine.backend)
        #expect(planned.workspaceByteCount >= 0)
      } catch {
        Issue.record(error)
      }
      done.signal()
    }
    done.wait()
    let graph = try stream.endCapture()
    #expect(try graph.nodeCount() == 2)
    withExtendedLifetime((append, other)) {}
  }

  @Test func `the fake ends a capture as a driver does`() throws {
    let machine = try SimulatedDriver()
    let context = machine.launcher.context
    let stream = try Stream(in: context)
    try stream.beginCapture(mode: .global)
    #expect(throws: CUDAError.self) { try DeviceBuffer(byteCount: 64, in: context).free() }
    #expect(throws: CUDAError.self) { _ = try stream.endCapture() }
    try stream.beginCapture(mode: .global)
    try context.relaxingCaptures("test") { () throws(CUDAError) in
      try DeviceBuffer(byteCount: 64, in: context).free()
    }
    #expect(try stream.endCapture().nodeCount() == 0)
    let error = #expect(throws: CUDAError.self) { try stream.keepInCapture(CaptureTests.Token()) }
    #expect(error?.description.contains("the stream must be captured") ?? false)
  }

  final class Token: Sendable {}
}
