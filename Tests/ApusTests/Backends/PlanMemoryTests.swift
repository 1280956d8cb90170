import Apus
import ApusCUDA
import ApusCUDATestSupport
import ApusCore
import ApusKernels
import ApusNumerics
import Testing

/// Memory and counters of plans on the CUDA back end.
@Suite struct PlanMemoryTests {
  static func launcher(
    chunk: Int, _ fake: FakeDriver
  ) throws -> CUDALauncher {
    try CUDALauncher(driver: Driver(table: fake.table), planChunkByteCount: chunk)
  }

  @Test func `plans share chunks and give parts back without the driver`() throws {
    let fake = FakeDriver()
    let launcher = try Self.launcher(chunk: 64 << 10, fake)
    var parts = try (0..<4).map { _ in try launcher.allocate(byteCount: 1000, operation: "test") }
    #expect(fake.calls.count { $0 == "cuMemAlloc" } == 2, "one for the ring, one for the chunk")
    #expect(Set(parts.map(\.address)).count == 4)
    #expect(parts.allSatisfy { $0.address % 256 == 0 && $0.byteCount == 1000 })
    fake.forgetCalls()
    parts = []
    #expect(fake.calls.isEmpty)
    // Parts are not used again before the context was waited for.
    let next = try launcher.allocate(byteCount: 1000, operation: "test")
    #expect(fake.calls.isEmpty)
    withExtendedLifetime(next) {}
  }

  @Test func `a chunk is used again after the context was waited for`() throws {
    let fake = FakeDriver()
    let launcher = try Self.launcher(chunk: 4096, fake)
    var first: Optional = try launcher.allocate(byteCount: 2048, operation: "test")
    let address = first?.address
    first = nil
    var second: Optional = try launcher.allocate(byteCount: 2048, operation: "test")
    second = nil
    fake.forgetCalls()
    let third = try launcher.allocate(byteCount: 2048, operation: "test")
    #expect(third.address == address)
    #expect(fake.calls.contains("cuCtxSynchronize"))
    #expect(!fake.calls.contains("cuMemAlloc"))
    _ = second
  }

  @Test func `nothing is used again while a stream is captured`() throws {
    let fake = FakeDriver()
    let launcher = try Self.launcher(chunk: 4096, fake)
    let stream = try Stream(in: launcher.context)
    for _ in 0..<2 { _ = try launcher.allocate(byteCount: 2048, operation: "test") }
    try stream.beginCapture(mode: .global)
    fake.forgetCalls()
    let third = try launcher.allocate(byteCount: 2048, operation: "test")
    #expect(fake.calls.contains("cuMemAlloc"))
    #expect(try stream.endCapture().nodeCount() == 0)
    withExtendedLifetime(third) {}
  }

  @Test func `memory of plans that are gone is returned when the device has no more`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.memoryByteCount = 32 << 20
    let fake = FakeDriver(configuration)
    let launcher = try Self.launcher(chunk: 4096, fake)
    _ = try launcher.allocate(byteCount: 20 << 20, operation: "test")
    let next = try launcher.allocate(byteCount: 18 << 20, operation: "test")
    #expect(next.byteCount == 18 << 20)
    #expect(throws: ApusError.self) {
      try launcher.allocate(byteCount: 20 << 20, operation: "test")
    }
  }

  @Test func `a launcher gives everything back`() throws {
    let fake = FakeDriver()
    do {
      let launcher = try Self.launcher(chunk: 4096, fake)
      let part = try launcher.upload([1, 2, 3], operation: "test")
      #expect(part.byteCount == 3)
    }
    #expect(fake.live.isEmpty)
  }

  /// A decode whose keys are split over blocks, with tensors of a fake device.
  struct Decode {
    let planned: PlannedAttention
    let arguments: AttentionArguments
    let tensors: [DeviceTensor]

    init(_ backend: CUDABackend, length: Int = 4096) throws {
      let launcher = backend.launcher
      let shape = AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 64)
      planned = try SingleDecode.plan(
        shape: shape, types: AttentionTypes(q: .bf16), kvLength: length,
        options: ExecutionOptions(splitSize: 512), on: backend)
      tensors = try [1, length, length, 1].map {
        try DeviceTensor(.bf16, [$0, 1, 64], on: launcher)
      }
      arguments = AttentionArguments(
        q: .packed(tensors[0].view), kv: .separate(k: tensors[1].view, v: tensors[2].view),
        o: tensors[3].view)
    }
  }

  /// A machine whose kernels do nothing.
  static func idleMachine(
    _ configure: (inout FakeDriver.Configuration) -> Void = { _ in },
    injection: FakeDriver.Injection? = nil
  ) throws -> (fake: FakeDriver, backend: CUDABackend) {
    var configuration = FakeDriver.Configuration()
    configuration.otherKernels = { _ in
      FakeKernel(parameterByteCounts: [128, 128] + [Int](repeating: 8, count: 9)) { _ in }
    }
    configure(&configuration)
    let fake = FakeDriver(configuration, injection: injection)
    return (fake, CUDABackend(try CUDALauncher(driver: Driver(table: fake.table))))
  }

  @Test func `runs with workspaces of their own share no counters`() throws {
    let (fake, backend) = try Self.idleMachine()
    let decode = try Decode(backend)
    let count = decode.planned.workspaceByteCount
    try #require(count > 0)
    let spaces = try (0..<12).map { _ in try DeviceTensor(.u8, [count], on: backend.launcher) }
    let stream = try Stream(in: backend.launcher.context)
    for space in spaces + spaces {
      try decode.planned.run(
        decode.arguments, workspace: space.view, on: .device(handle: stream.handle))
    }
    // Behind two tensor maps: q, o, lse, items, pages, seeds, partials, sums, counters.
    let counters = fake.launches.map { $0.value(10, as: UInt64.self) }
    try #require(counters.count == 24)
    #expect(Set(counters.prefix(12)).count == 12)
    #expect(Array(counters.prefix(12)) == Array(counters.suffix(12)))
    #expect(Set(fake.launches.map { $0.value(8, as: UInt64.self) }).count == 12)
    // Runs without a workspace share the plan's, and so its counters.
    for _ in 0..<2 {
      try decode.planned.run(decode.arguments, on: .device(handle: stream.handle))
    }
    let own = fake.launches.suffix(2).map { $0.value(10, as: UInt64.self) }
    #expect(own[0] == own[1])
    #expect(!counters.contains(own[0]))
    withExtendedLifetime((decode, spaces)) {}
  }

  @Test func `a plan may go while its work is in flight`() throws {
    let (fake, backend) = try Self.idleMachine()
    let stream = try Stream(in: backend.launcher.context)
    var decode: Decode? = try Decode(backend)
    let tensors = decode?.tensors
    if let decode {
      try decode.planned.run(decode.arguments, on: .device(handle: stream.handle))
    }
    fake.forgetCalls()
    decode = nil
    #expect(!fake.calls.contains("cuMemFree") && !fake.calls.contains("cuCtxSynchronize"))
    withExtendedLifetime(tensors) {}
  }

  @Test func `a stream of another device is the caller's error`() throws {
    let (_, backend) = try Self.idleMachine()
    let decode = try Decode(backend)
    let second = try Context.primary(of: Device(1, of: backend.launcher.device.driver))
    let stream = try Stream(in: second)
    do throws(ApusError) {
      try decode.planned.run(decode.arguments, on: .device(handle: stream.handle))
      Issue.record("expected an error")
    } catch {
      #expect(
        error.description
          == "SingleDecode.run: the borrowed stream must belong to the context of device 0; found "
          + "a stream of another context.")
    }
    withExtendedLifetime((decode, stream)) {}
  }

  @Test func `calls without plans compile nothing after their warm-up`() throws {
    let machine = try SimulatedDriver()
    let append = try CaptureTests.Append(machine.launcher)
    let merge = try CUDABackendTests.Merge(machine.launcher)
    try machine.backend.warmUp(for: [
      .append(append.problem, append.arguments), .merge(merge.arguments),
    ])
    #expect(machine.fake.calls.contains("cuModuleLoadDataEx"))
    machine.fake.forgetCalls()
    try machine.backend.append(append.problem, append.arguments, on: .synchronous)
    try machine.backend.merge(merge.arguments, on: .synchronous)
    #expect(!machine.fake.calls.contains("cuModuleLoadDataEx"))
    var malformed = append.arguments
    malformed.keys = merge.v.view
    #expect(throws: ApusError.self) {
      try machine.backend.warmUp(for: [.append(append.problem, malformed)])
    }
    withExtendedLifetime((append, merge)) {}
  }

  @Test func `a device without room for clusters of sixteen refuses them and remembers it`() throws
  {
    let kernel = DecodeKernel(
      queryType: .bf16, cacheType: .bf16, outputType: .bf16, headDim: 128, mode: .cluster(16),
      tilesPerStep: 1, stages: 1)
    for largest in [UInt32(16), 8] {
      let (fake, backend) = try Self.idleMachine { $0.largestCluster = largest }
      var refusal: ApusError?
      do throws(ApusError) {
        try backend.launcher.prepare([kernel], operation: "test")
      } catch {
        refusal = error
      }
      #expect(fake.calls.contains("cuOccupancyMaxActiveClusters"))
      #expect(backend.launcher.largestCluster == Int(largest))
      #expect((refusal == nil) == (largest == 16), "\(String(describing: refusal))")
    }
  }

  @Test func `each driver failure of plan, run, update and append is an environment error`() throws
  {
    var refused: Set<String> = []
    var index = 0
    var isDone = false
    while !isDone {
      let injection = FakeDriver.Injection(index: index, status: 2)
      index += 1
      do {
        let (fake, backend) = try Self.idleMachine(
          { $0.otherKernels = { _ in FakeKernel(parameterByteCounts: []) { _ in } } },
          injection: injection)
        defer { isDone = fake.calls.count < index }
        do {
          let stream = try Stream(in: backend.launcher.context)
          let handle = ExecutionStream.device(handle: stream.handle)
          let memory = try DeviceTensor(.f32, [64], on: backend.launcher)
          let view = { (shape: [Int]) in
            TensorView(
              address: memory.view.address, byteCount: 256, scalarType: .f32, shape: shape,
              strides: TensorView.denseStrides(shape), memory: backend.memory)
          }
          let planned = try SingleDecode.plan(
            shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
            types: AttentionTypes(q: .f32), kvLength: 2, on: backend)
          let arguments = AttentionArguments(
            q: .packed(view([1, 1, 8])),
            kv: .separate(k: view([2, 1, 8]), v: view([2, 1, 8])), o: try Self.output(backend))
          try planned.run(arguments, on: handle)
          try planned.run(arguments, on: .synchronous)
          let updatable = try BatchDecode.planPadded(
            shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
            types: AttentionTypes(q: .f32), batch: 1, maxLength: 2,
            capacity: PlanCapacity(batch: 1, keysPerRequest: 2), on: backend)
          try updatable.update(lengths: [1], on: handle)
          let append = try CaptureTests.Append(backend.launcher)
          try backend.append(append.problem, append.arguments, on: handle)
          let graph = try stream.capture { () throws(CUDAError) in
            do throws(ApusError) {
              try backend.append(append.problem, append.arguments, on: handle)
            } catch {
              guard case .environment(let failure) = error, failure.code == 2 else {
                Issue.record("call \(index - 1): \(error)")
                return
              }
              refused.insert("captured")
            }
          }
          #expect(try graph.nodeCount() >= 0)
          withExtendedLifetime(memory) {}
        } catch let error as ApusError {
          guard case .environment(let failure) = error, failure.code == 2 else {
            Issue.record("call \(index - 1): \(error)")
            continue
          }
          refused.insert(failure.operation)
        }
      } catch let error as CUDAError {
        #expect(error.code == 2)
      } catch let error as ApusError {
        guard case .environment = error else {
          Issue.record("call \(index - 1): \(error)")
          continue
        }
      }
    }
    // Failures met in each phase.
    #expect(refused.contains { $0.hasPrefix("SingleDecode.plan") })
    #expect(refused.contains { $0.hasPrefix("SingleDecode.run") })
    #expect(refused.contains { $0.hasPrefix("Append.run") })
    #expect(refused.contains("captured"))
  }

  private static func output(_ backend: CUDABackend) throws -> TensorView {
    let memory = try backend.launcher.allocate(byteCount: 32, operation: "SingleDecode.plan")
    return TensorView(
      address: UInt(memory.address), byteCount: 32, scalarType: .f32, shape: [1, 1, 8],
      strides: [8, 8, 1], memory: backend.memory)
  }
}
