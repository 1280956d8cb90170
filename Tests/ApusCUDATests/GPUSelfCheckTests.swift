import ApusCUDA
import ApusCUDATestSupport
import Testing

/// Whether this machine has a driver with a device, and if not, why.
enum RealDriver {
  static let found: Result<Driver, CUDAError> = Result { () throws(CUDAError) in
    let driver = try Driver.load()
    if try driver.deviceCount() > 0 { return driver }
    throw CUDAError(kind: .driverMissing, operation: "RealDriver", text: "no device")
  }

  static var isPresent: Bool { (try? found.get()) != nil }

  static var reason: Comment {
    switch found {
    case .success: "a driver is present"
    case .failure(let error): Comment(rawValue: "SKIP: \(error)")
    }
  }
}

@Suite struct GPUSelfCheckTests {
  @Test func `the check passes on the fake and leaves nothing behind`() throws {
    let machine = try Machine()
    let lines = try GPUSelfCheck(driver: machine.driver).run()
    for line in lines {
      if case .passed = line.outcome { continue }
      Issue.record(Comment(rawValue: line.description))
    }
    #expect(lines.count == 20)
    #expect(machine.fake.live == [])
    #expect(machine.log.releaseErrors == [])
  }

  @Test func `an older device with no peer skips what it lacks`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.capability = 86
    configuration.deviceCount = 1
    let lines = try GPUSelfCheck(driver: Machine(configuration).driver).run()
    let skipped = lines.filter { if case .skipped = $0.outcome { true } else { false } }
    #expect(
      skipped.map(\.name)
        == [
          "dependent launch", "cluster launch", "tensor map", "second device",
          "copies between devices",
        ])
  }

  @Test func `a kernel that adds wrongly is found`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.kernels["vector_add"] = FakeKernel(parameterByteCounts: [8, 8, 8, 4]) { _ in }
    let lines = try GPUSelfCheck(driver: Machine(configuration).driver).run()
    let failed = lines.filter { if case .failed = $0.outcome { true } else { false } }
    #expect(failed.map(\.name).contains("vector add"))
    #expect(failed.map(\.name).contains("graphs"))
  }

  @Test(.enabled(if: RealDriver.isPresent, RealDriver.reason))
  func `the check passes on this machine's GPUs`() throws {
    let lines = try GPUSelfCheck(driver: RealDriver.found.get()).run()
    for line in lines {
      print(line)
      if case .failed = line.outcome { Issue.record(Comment(rawValue: line.description)) }
    }
  }
}
