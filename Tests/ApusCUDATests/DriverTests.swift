import ApusCUDA
import ApusCUDATestSupport
import Testing

@Suite struct DriverTests {
  @Test func `a driver that is too old is refused before it starts`() {
    var configuration = FakeDriver.Configuration()
    configuration.version = 11_080
    let fake = FakeDriver(configuration)
    let error = thrown { () throws(CUDAError) in _ = try Driver(table: fake.table) }
    #expect(
      error?.kind
        == .driverTooOld(found: DriverVersion(11, 8), required: DriverVersion(12, 0)))
    #expect(
      error?.description
        == "Driver.init: the driver must support CUDA 12.0 or newer; found 11.8. Update the "
        + "NVIDIA driver.")
    #expect(fake.calls == ["cuDriverGetVersion"])
  }

  @Test func `the version is decoded`() throws {
    #expect(try Machine().driver.version == DriverVersion(13, 0))
    #expect(DriverVersion(encoded: 12_040) == DriverVersion(12, 4))
    #expect(DriverVersion(encoded: 12_040).description == "12.4")
    #expect(DriverVersion(12, 10) > DriverVersion(12, 9))
  }

  @Test func `a device has its properties`() throws {
    let machine = try Machine()
    let device = try Device(1, of: machine.driver)
    #expect(device.properties.name == "Fake 1")
    #expect(device.properties.capability == ComputeCapability(9, 0))
    #expect(device.properties.multiprocessorCount == 132)
    #expect(device.properties.sharedBytesPerBlockOptIn == 227 << 10)
    #expect(device.properties.maxGrid == Dim3(Int(Int32.max), 65535, 65535))
    #expect(device.properties.supportsClusters)
    #expect(try device.pciAddress() == "0000:01:00.0")
    #expect(try device.attribute(16) == 132)
    machine.fake.forgetCalls()
    _ = try Device(1, of: machine.driver)
    #expect(machine.fake.calls == ["cuDeviceGetCount", "cuDeviceGet"])
  }

  @Test(arguments: [-1, 2, Int.max])
  func `an ordinal outside the devices is refused`(ordinal: Int) throws {
    let machine = try Machine()
    let error = thrown { () throws(CUDAError) in _ = try Device(ordinal, of: machine.driver) }
    #expect(
      error?.description
        == "Device.init: ordinal must be below the number of devices, 2; found \(ordinal).")
  }
}

@Suite struct ContextTests {
  @Test func `the primary context is released with its last user`() throws {
    let machine = try Machine()
    do {
      let buffer = try DeviceBuffer(byteCount: 16, in: machine.context())
      #expect(
        machine.fake.live
          == ["1 references to the context of device 0", "16 bytes of device 0"])
      _ = buffer.view
    }
    #expect(machine.fake.live == [])
    #expect(machine.fake.calls.suffix(1) == ["cuDevicePrimaryCtxRelease"])
  }

  @Test func `an operation pushes its context and restores the thread's own`() throws {
    let machine = try Machine()
    let (first, second) = (try machine.context(0), try machine.context(1))
    machine.fake.forgetCalls()
    _ = try second.memory()
    #expect(
      machine.fake.calls
        == ["cuCtxGetCurrent", "cuCtxPushCurrent", "cuMemGetInfo", "cuCtxPopCurrent"])
    #expect(machine.fake.currentContext == 0)
    let outer = machine.fake.currentContext
    try first.withCurrent("test") { () throws(CUDAError) in
      _ = try second.memory()
      #expect(machine.fake.currentContext == first.handle)
      machine.fake.forgetCalls()
      _ = try first.memory()
      #expect(machine.fake.calls == ["cuCtxGetCurrent", "cuMemGetInfo"])
    }
    #expect(machine.fake.currentContext == outer)
  }

  @Test func `a framework's primary context is adopted and kept`() throws {
    let machine = try Machine()
    let none = try Context.current(of: machine.driver)
    #expect(none == nil)
    machine.fake.makePrimaryCurrent(device: 1)
    let context = try #require(try Context.current(of: machine.driver))
    #expect(context.device.ordinal == 1)
    #expect(context.isRetained)
    #expect(machine.fake.live == ["1 references to the context of device 1"])
    machine.fake.clearCurrent()
    // The framework's context is gone from the thread; ours still works.
    _ = try context.memory()
  }

  @Test func `a body's error leaves no context behind`() throws {
    let machine = try Machine()
    let context = try machine.context()
    let error = thrown { () throws(CUDAError) in
      try context.withCurrent("test") { () throws(CUDAError) in
        throw CUDAError(kind: .call, operation: "test")
      }
    }
    #expect(error?.operation == "test")
    #expect(machine.fake.currentContext == 0)
  }

  @Test func `priorities run from urgent to not`() throws {
    #expect(try Machine().context().streamPriorities() == -5...0)
  }

  @Test func `peer access enabled twice is enabled`() throws {
    let machine = try Machine()
    let (first, second) = (try machine.context(0), try machine.context(1))
    try first.enablePeerAccess(to: second)
    try first.enablePeerAccess(to: second)
    #expect(machine.fake.calls.count { $0 == "cuCtxEnablePeerAccess" } == 2)
  }
}
