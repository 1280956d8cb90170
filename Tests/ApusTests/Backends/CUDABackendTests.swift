import Apus
import ApusCUDA
import ApusCUDATestSupport
import ApusDSL
import ApusIR
import ApusKernels
import Testing

@Suite struct CUDABackendTests {
  /// Driver calls that a run may make: they neither allocate, wait nor read.
  static let quiet: Set<String> = [
    "cuCtxGetCurrent", "cuCtxPushCurrent", "cuCtxPopCurrent", "cuStreamGetCtx",
    "cuTensorMapEncodeTiled", "cuLaunchKernelEx",
  ]
  /// Those of operators whose host lists travel with the call.
  static let staging = quiet.union([
    "cuStreamIsCapturing", "cuEventQuery", "cuStreamWaitEvent", "cuMemcpyHtoDAsync",
    "cuEventRecord", "cuThreadExchangeStreamCaptureMode",
  ])

  /// Two merged states of ones with equal weights.
  struct Merge {
    let arguments: MergeArguments
    let v: DeviceTensor
    let s: DeviceTensor
    let inputs: [DeviceTensor]

    init(_ launcher: CUDALauncher, type: ScalarType = .bf16) throws {
      func tensor(_ type: ScalarType, _ shape: [Int], _ value: Float) throws -> DeviceTensor {
        try DeviceTensor(
          type, shape, on: launcher,
          values: [Float](repeating: value, count: shape.reduce(1, *)))
      }
      inputs = [
        try tensor(type, [2, 3, 16], 1), try tensor(.f32, [2, 3], 4),
        try tensor(type, [2, 3, 16], 3), try tensor(.f32, [2, 3], 4),
      ]
      v = try tensor(type, [2, 3, 16], 0)
      s = try tensor(.f32, [2, 3], 0)
      arguments = MergeArguments(
        .two(
          aV: inputs[0].view, aS: inputs[1].view, bV: inputs[2].view, bS: inputs[3].view,
          v: v.view, s: s.view))
    }
  }

  @Test func `a merge goes through the driver and computes the mean`() throws {
    let machine = try SimulatedDriver()
    let merge = try Merge(machine.launcher)
    try machine.backend.merge(merge.arguments, on: .synchronous)
    #expect(machine.errors.isEmpty)
    #expect(try merge.v.values(on: machine.launcher) == [Float](repeating: 2, count: 96))
    #expect(try merge.s.values(on: machine.launcher) == [Float](repeating: 5, count: 6))
    // Launched again, nothing is compiled again.
    machine.fake.forgetCalls()
    try machine.backend.merge(merge.arguments, on: .synchronous)
    #expect(!machine.fake.calls.contains("cuModuleLoadDataEx"))
    withExtendedLifetime(merge) {}
  }

  @Test func `a run on a stream neither allocates nor waits nor reads back`() throws {
    let machine = try SimulatedDriver()
    let launcher = machine.launcher
    let stream = try Stream(in: launcher.context)
    let merge = try Merge(launcher)
    let handle = ExecutionStream.device(handle: stream.handle)
    try machine.backend.merge(merge.arguments, on: handle)
    machine.fake.forgetCalls()
    try machine.backend.merge(merge.arguments, on: handle)
    #expect(Set(machine.fake.calls).subtracting(Self.quiet).isEmpty)
    #expect(machine.fake.calls.count { $0 == "cuLaunchKernelEx" } == 1)
    #expect(machine.fake.launches.last?.stream == stream.handle)
    withExtendedLifetime((merge, stream)) {}
  }

  @Test func `host lists travel in stream order`() throws {
    let machine = try SimulatedDriver()
    let launcher = machine.launcher
    let stream = try Stream(in: launcher.context)
    let keys = try DeviceTensor(.bf16, [3, 2, 16], on: launcher, values: (0..<96).map(Float.init))
    let cache = try [0, 1].map { _ in try DeviceTensor(.bf16, [4, 2, 2, 16], on: launcher) }
    let problem = AppendProblem(
      kvHeadCount: 2, headDimK: 16, sourceType: .bf16, cacheType: .bf16,
      table: PageTable(
        pageSize: 2, indptr: RaggedIndptr([0, 2]), indices: [3, 1], lastPageLength: [1]),
      batchIndices: [0, 0, 0], positions: [2, 0, 1])
    let arguments = AppendArguments(
      keys: keys.view, values: keys.view,
      cache: .separate(k: cache[0].view, v: cache[1].view))
    let handle = ExecutionStream.device(handle: stream.handle)
    try machine.backend.append(problem, arguments, on: handle)
    machine.fake.forgetCalls()
    // More calls than the ring has slots.
    for _ in 0..<70 { try machine.backend.append(problem, arguments, on: handle) }
    #expect(Set(machine.fake.calls).subtracting(Self.staging).isEmpty)
    #expect(machine.errors.isEmpty)
    let written = try cache[0].values(on: launcher)
    // Token 0 at position 2 is page 1, slot 0; tokens 1 and 2 are page 3.
    #expect(Array(written[64..<96]) == (0..<32).map { Float($0) })
    #expect(Array(written[192..<256]) == (32..<96).map { Float($0) })
    withExtendedLifetime((keys, stream)) {}
  }

  @Test func `a captured append keeps its lists and replays`() throws {
    let machine = try SimulatedDriver()
    let launcher = machine.launcher
    let stream = try Stream(in: launcher.context)
    let flags = try DeviceTensor(.u8, [16], on: launcher)
    let packed = try DeviceTensor(.u8, [2], on: launcher)
    var bytes = [UInt8](repeating: 0, count: 16)
    bytes[3] = 1
    bytes[8] = 9
    let view = DeviceView(address: UInt64(flags.view.address), byteCount: 16)
    try launcher.context.copy(bytes, to: view)
    let arguments = PackBitsArguments(flags: flags.view, packed: packed.view, bitOrder: .little)
    try machine.launcher.prepare([], operation: "test")
    try machine.backend.packBits(arguments, on: .synchronous)
    let graph = try stream.capture { () throws(CUDAError) in
      do throws(ApusError) {
        try machine.backend.packBits(arguments, on: .device(handle: stream.handle))
      } catch {
        Issue.record(error)
      }
    }
    let executable = try graph.instantiate()
    // Other calls take other slots.
    for _ in 0..<40 { try machine.backend.packBits(arguments, on: .synchronous) }
    bytes[4] = 1
    try launcher.context.copy(bytes, to: view)
    try executable.launch(on: stream)
    #expect(try packed.values(on: launcher) == [24, 1])
    withExtendedLifetime((flags, stream)) {}
  }

  @Test func `each driver failure is an error in the driver's words and leaves nothing behind`()
    throws
  {
    var refused = 0
    for index in 0..<400 {
      let fake = FakeDriver(
        FakeDriver.Configuration(), injection: FakeDriver.Injection(index: index, status: 2))
      if let error = Self.failure(fake) {
        guard case .environment(let environment) = error else {
          Issue.record("expected an environment error; found \(error)")
          continue
        }
        #expect(environment.code == 2)
        #expect(environment.text.contains("CUDA_ERROR_OUT_OF_MEMORY"))
        refused += 1
      }
      // What was made is given back, unless giving back is what failed.
      let failed = fake.calls.indices.contains(index) ? fake.calls[index] : "none"
      if !Self.releases.contains(failed) {
        #expect(fake.live.isEmpty, "after a failure of call \(index), \(failed)")
      }
    }
    #expect(refused > 20)
  }

  static let releases: Set<String> = [
    "cuCtxPopCurrent", "cuMemFree", "cuMemFreeHost", "cuEventDestroy", "cuStreamDestroy",
    "cuDevicePrimaryCtxRelease",
  ]

  /// Why a launcher cannot be made on a driver; nil if it can.
  static func failure(_ fake: FakeDriver, device: Int = 0) -> ApusError? {
    do {
      let driver = try Driver(table: fake.table)
      _ = try CUDALauncher(device: device, driver: driver)
      return nil
    } catch let error as CUDAError {
      return ApusError(error, operation: "CUDABackend.init")
    } catch {
      return error as? ApusError
    }
  }

  @Test func `a missing device, an old GPU and an old driver have typed errors`() throws {
    func failure(_ change: (inout FakeDriver.Configuration) -> Void, device: Int = 0) -> String? {
      var configuration = FakeDriver.Configuration()
      change(&configuration)
      return Self.failure(FakeDriver(configuration), device: device)?.description
    }
    #expect(
      failure({ _ in }, device: 2)
        == "CUDABackend.init: device must be below the number of CUDA devices, 2; found 2. "
        + "Check CUDA_VISIBLE_DEVICES.")
    #expect(
      failure { $0.capability = 75 }
        == "CUDABackend.init: back end cuda:0 must support the request; found Fake 0 of compute "
        + "capability 7.5. Supported: compute capability 8.0 and newer.")
    #expect(
      failure { $0.version = 11_080 }
        == "CUDABackend.init: the system call must succeed; found code 0 (the driver supports CUDA "
        + "11.8, below 12.0). Update the NVIDIA driver.")
  }

  @Test func `PTX newer than the driver never reaches it`() throws {
    // FP8 conversions of sm_89 came with PTX 8.1, this driver compiles 8.0.
    let machine = try SimulatedDriver {
      $0.capability = 89
      $0.version = 12_000
    }
    let merge = try Merge(machine.launcher, type: .e4m3)
    do throws(ApusError) {
      try machine.backend.merge(merge.arguments, on: .synchronous)
      Issue.record("expected an error")
    } catch {
      #expect(
        error.description.hasSuffix(
          "): the system call must succeed; found code 0 (the driver compiles PTX up to 8.0 and the "
            + "kernel needs PTX 8.1). Update the NVIDIA driver to CUDA 12.1 or newer."))
    }
    #expect(!machine.fake.calls.contains("cuModuleLoadDataEx"))
    // The back end stays usable.
    let other = try Merge(machine.launcher)
    try machine.backend.merge(other.arguments, on: .synchronous)
    withExtendedLifetime((merge, other)) {}
  }

  @Test func `a self-test runs at warm-up, and wrong code is replaced or refused`() throws {
    let kernels = KernelCatalog.all.filter { $0 is any SampledKernel }.prefix(2)
    try #require(!kernels.isEmpty)
    let machine = try SimulatedDriver()
    for report in machine.launcher.warmUp(Array(kernels), operation: "test") {
      guard case .tested = report.outcome else {
        Issue.record("\(report)")
        continue
      }
    }
    // A driver whose code does nothing.
    let wrong = try SimulatedDriver {
      $0.otherKernels = { _ in FakeKernel(parameterByteCounts: []) { _ in } }
    }
    for report in wrong.launcher.warmUp(Array(kernels), operation: "test") {
      guard case .failed(.environment(let error)) = report.outcome else {
        Issue.record("\(report)")
        continue
      }
      #expect(error.operation == "test(\(report.symbol))")
      #expect(error.text.contains("wrong results"))
    }
    #expect(wrong.launcher.warmUp([], operation: "test").isEmpty)
  }

  @Test func `code of a pack is used without the driver's compiler`() throws {
    let arguments = try Merge(SimulatedDriver().launcher, type: .e4m3).arguments
    let kernel = try #require(MergeKernel.launches(for: arguments, target: .sm89).launches.first)
      .kernel
    let ptx = try CUDALauncher.print(kernel, target: .sm89, operation: "test").ptx
    // A driver that could not compile the kernel runs it.
    let machine = try packed(kernel.symbol, ptx, digest: SHA256Digest(of: ptx))
    let merge = try Merge(machine.launcher, type: .e4m3)
    try machine.backend.merge(merge.arguments, on: .synchronous)
    #expect(try merge.v.values(on: machine.launcher) == [Float](repeating: 2, count: 96))
    // Code of another version's PTX is not used.
    let other = try packed(kernel.symbol, ptx, digest: SHA256Digest(of: ptx + " "))
    let refused = try Merge(other.launcher, type: .e4m3)
    #expect(throws: ApusError.self) {
      try other.backend.merge(refused.arguments, on: .synchronous)
    }
    withExtendedLifetime((merge, refused)) {}
  }

  /// A machine with a pack. The fake driver takes any text with a version and an entry for code.
  private func packed(
    _ symbol: String, _ ptx: String, digest: SHA256Digest
  ) throws -> SimulatedDriver {
    let pack = try CubinPack.write(
      [
        CubinPack.Source(
          symbol: symbol, target: .sm89, ptxDigest: digest, code: Array(ptx.utf8) + [0])
      ], assembler: "test")
    return try SimulatedDriver(
      {
        $0.capability = 89
        $0.version = 12_000
      }, options: CUDAOptions(packs: [pack]))
  }

  @Test func `a file that is no pack is refused`() throws {
    let fake = FakeDriver()
    let driver = try Driver(table: fake.table)
    let options = CUDAOptions(packs: [[1, 2, 3]])
    let error = #expect(throws: ApusError.self) {
      try CUDALauncher(driver: driver, options: options)
    }
    #expect(
      error?.description
        == "CUDABackend.init: packs must be files of `apus kernels pack`; found CubinPack: the file "
        + "must begin with APUSCUBN and a header; found 3 bytes of something else..")
  }

  @Test(arguments: zip([80, 86, 89, 90, 100, 120], ["80", "86", "89", "90a", "89", "89"]))
  func `kernels are built for the newest target that runs`(_ capability: Int, _ target: String)
    throws
  {
    let machine = try SimulatedDriver { $0.capability = Int32(capability) }
    #expect(machine.launcher.target.description == "sm_\(target)")
  }
}
