import ApusCUDA
import ApusCUDATestSupport
import Testing

@Suite struct LaunchTests {
  @Test func `a launch is one driver call: no allocation, synchronisation or read-back`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let function = try machine.vectorAdd(in: context)
    let stream = try Stream(in: context)
    let memory = try DeviceBuffer(byteCount: 48, in: context)
    try context.copy((0..<12).map { Float($0) }, to: memory.view)
    var arguments = KernelArguments()
    for part in 0..<3 { arguments.append(try memory.view.slice(at: 16 * part, byteCount: 16)) }
    arguments.append(UInt32(4))
    let configuration = LaunchConfiguration(grid: 1, block: 4)
    machine.fake.forgetCalls()
    try function.launch(configuration, arguments, on: stream)
    #expect(
      machine.fake.calls
        == ["cuCtxGetCurrent", "cuCtxPushCurrent", "cuLaunchKernelEx", "cuCtxPopCurrent"])
    machine.fake.forgetCalls()
    machine.fake.makePrimaryCurrent(device: 0)
    try function.launch(configuration, arguments, on: stream)
    #expect(machine.fake.calls == ["cuCtxGetCurrent", "cuLaunchKernelEx"])
    var found = [Float](repeating: 0, count: 12)
    try context.copy(from: memory.view, to: &found)
    #expect(found == [0, 1, 2, 3, 4, 5, 6, 7, 4, 6, 8, 10])
    machine.fake.clearCurrent()
  }

  @Test func `everything asked for reaches the driver`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let module = try LoadedModule(.ptx(CheckKernels.hopper), name: "hopper", in: context)
    let function = try module.function("cluster_rank")
    let stream = try Stream(in: context)
    let memory = try DeviceBuffer(byteCount: 4 * 96, in: context)
    var arguments = KernelArguments()
    arguments.append(memory.view)
    try function.launch(
      LaunchConfiguration(
        grid: Dim3(4, 6, 4), block: Dim3(8, 2, 3), dynamicSharedByteCount: 4096,
        cluster: Dim3(2, 3, 1), overlapsPredecessor: true, isCooperative: true, priority: -3),
      arguments, on: stream)
    let launch = try #require(machine.fake.launches.first)
    #expect(launch.kernel == "cluster_rank")
    #expect(launch.grid == [4, 6, 4])
    #expect(launch.block == [8, 2, 3])
    #expect(launch.dynamicSharedByteCount == 4096)
    #expect(launch.stream == stream.handle)
    #expect(
      launch.attributes
        == [[4, 2, 3, 1], [6, 1, 0, 0], [2, 1, 0, 0], [8, UInt32(bitPattern: -3), 0, 0]])
  }

  @Test func `every broken rule of a launch is named`() throws {
    var device = try Device(0, of: Machine().driver).properties
    func texts(_ configuration: LaunchConfiguration) -> [String] {
      configuration.violations(on: device).map(\.description)
    }
    #expect(texts(LaunchConfiguration(grid: 1, block: 1024)) == [])
    #expect(
      texts(LaunchConfiguration(grid: Dim3(8, 4, 2), block: 32, cluster: Dim3(8, 2))) == [])
    let limit = "grid must be from (1, 1, 1) to (2147483647, 65535, 65535)"
    for grid in [Dim3(0), Dim3(1, 65536), Dim3(1, 1, -1), Dim3(1 << 31)] {
      #expect(texts(LaunchConfiguration(grid: grid, block: 1)) == ["\(limit); found \(grid)"])
    }
    for block in [Dim3(0), Dim3(1025), Dim3(32, 33), Dim3(.max, .max), Dim3(4, -1)] {
      #expect(
        texts(LaunchConfiguration(grid: 1, block: block))
          == ["block must have from 1 to 1024 threads; found \(block)"])
    }
    #expect(
      texts(LaunchConfiguration(grid: 1, block: 1, dynamicSharedByteCount: 232_449))
        == ["dynamicSharedByteCount must be from 0 to 232448; found 232449"])
    #expect(
      texts(LaunchConfiguration(grid: 34, block: 1, cluster: 17))
        == ["cluster must have from 1 to 16 blocks; found (17, 1, 1)"])
    #expect(
      texts(LaunchConfiguration(grid: 3, block: 1, cluster: 2))
        == ["grid must be a multiple of cluster (2, 1, 1) along each axis; found (3, 1, 1)"])
    #expect(
      texts(LaunchConfiguration(grid: 3, block: 1, cluster: 0)).count == 2)
    device.supportsClusters = false
    device.supportsCooperativeLaunch = false
    device.capability = ComputeCapability(8, 6)
    #expect(
      texts(
        LaunchConfiguration(
          grid: 2, block: 1, cluster: 2, overlapsPredecessor: true, isCooperative: true))
        == [
          "clusters need a device of compute capability 9.0 or newer; found Fake 0, 8.6",
          "a cooperative launch needs a device that has it; found Fake 0",
          "overlapsPredecessor needs a device of compute capability 9.0 or newer; found Fake 0, 8.6",
        ])
  }

  @Test func `a broken launch does not reach the driver`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let function = try machine.vectorAdd(in: context)
    let stream = try Stream(in: context)
    machine.fake.forgetCalls()
    let error = thrown { () throws(CUDAError) in
      try function.launch(
        LaunchConfiguration(grid: 0, block: 2048), KernelArguments(), on: stream)
    }
    #expect(violations(error).count == 2)
    #expect(
      error?.description == """
        Function.launch(vector_add): 2 requirements do not hold:
          - grid must be from (1, 1, 1) to (2147483647, 65535, 65535); found (0, 1, 1).
          - block must have from 1 to 1024 threads; found (2048, 1, 1).
        """)
    #expect(machine.fake.calls == [])
  }

  @Test func `a launch on another device's stream is refused`() throws {
    let machine = try Machine()
    let function = try machine.vectorAdd(in: machine.context(1))
    let stream = try Stream(in: machine.context(0))
    let error = thrown { () throws(CUDAError) in
      try function.launch(
        LaunchConfiguration(grid: 1, block: 1), KernelArguments(), on: stream)
    }
    #expect(
      error?.description
        == "Function.launch(vector_add): the stream must belong to the context of the kernel, "
        + "device 1; found a stream of device 0.")
  }

  @Test func `a launch prints on one line`() {
    #expect(
      LaunchConfiguration(grid: 4, block: 128).description == "grid (4, 1, 1), block (128, 1, 1)")
    #expect(
      LaunchConfiguration(
        grid: 4, block: 128, dynamicSharedByteCount: 1, cluster: 2, overlapsPredecessor: true,
        isCooperative: true, priority: -1
      ).description
        == "grid (4, 1, 1), block (128, 1, 1), 1 shared bytes, cluster (2, 1, 1), overlaps "
        + "predecessor, cooperative, priority -1")
  }

  @Test func `occupancy is asked of the driver`() throws {
    let machine = try Machine()
    let function = try machine.vectorAdd(in: machine.context())
    #expect(try function.maxActiveBlocks(threadsPerBlock: 256) == 8)
    #expect(
      try function.maxActiveClusters(LaunchConfiguration(grid: 2, block: 32, cluster: 2)) == 66)
  }
}

@Suite struct KernelArgumentsTests {
  @Test func `values keep their alignment and survive growth`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.kernels["vector_add"] = FakeKernel(
      parameterByteCounts: [1, 8, 2, 128, 4, 8, 4]) { _ in }
    let machine = try Machine(configuration)
    let context = try machine.context()
    let function = try machine.vectorAdd(in: context)
    let memory = try DeviceBuffer(byteCount: 1024, in: context)
    let map = try TensorMap(
      TensorMapDescription(
        .f32, memory: memory.view, dimensions: [16, 16], byteStrides: [64], box: [4, 4]),
      in: context)
    var arguments = KernelArguments(byteCapacity: 1)
    arguments.append(UInt8(7))
    arguments.append(memory.view)
    arguments.append(UInt16(300))
    arguments.append(map)
    arguments.append(Float(2.5))
    arguments.append(Double(-1))
    arguments.append(Int32(-2))
    #expect(arguments.count == 7)
    #expect(arguments.byteCounts == [1, 8, 2, 128, 4, 8, 4])
    try arguments.replace(0, with: UInt8(8))
    try arguments.replace(4, with: Float(3.5))
    try function.launch(
      LaunchConfiguration(grid: 1, block: 1), arguments, on: .legacyDefault(of: context))
    let launch = try #require(machine.fake.launches.first)
    #expect(launch.value(0, as: UInt8.self) == 8)
    #expect(launch.value(1, as: UInt64.self) == memory.address)
    #expect(launch.value(2, as: UInt16.self) == 300)
    #expect(launch.value(3, as: UInt64.self) == memory.address)
    #expect(launch.value(4, as: Float.self) == 3.5)
    #expect(launch.value(5, as: Double.self) == -1)
    #expect(launch.value(6, as: Int32.self) == -2)
  }

  @Test func `a replacement must fit`() throws {
    var arguments = KernelArguments()
    arguments.append(UInt32(1))
    var errors: [String?] = []
    do throws(CUDAError) { try arguments.replace(0, with: UInt64(1)) } catch {
      errors.append(error.description)
    }
    do throws(CUDAError) { try arguments.replace(1, with: UInt32(1)) } catch {
      errors.append(error.description)
    }
    #expect(
      errors == [
        "KernelArguments.replace: the parameter must exist and have the value's 8 bytes; found 4 "
          + "bytes at 0.",
        "KernelArguments.replace: the parameter must exist and have the value's 4 bytes; found "
          + "index 1 of 1.",
      ])
  }
}
