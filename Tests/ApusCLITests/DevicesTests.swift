import Apus
import ApusCPU
import ApusCUDA
import ApusCUDATestSupport
import Foundation
import Testing

@testable import ApusCLI

@Suite struct DevicesTests {
  @Test func `a machine without a driver says so in the loader's words`() {
    let probe = GPUProbe.probe(libraries: ["libnothing-of-this-name.so.1"])
    #expect(probe.devices.isEmpty)
    #expect(probe.driverVersion == nil)
    let reason = probe.reason ?? ""
    #expect(reason.contains("the NVIDIA driver library must be loadable"))
    #expect(reason.contains("libnothing-of-this-name.so.1"))
    #expect(probe.lines.count == 1)
  }

  @Test func `a library that is no driver says so`() {
    #if os(Linux)
      let probe = GPUProbe.probe(libraries: ["libc.so.6"])
      #expect(probe.reason?.contains("cuDriverGetVersion") == true)
    #endif
  }

  @Test func `devices are listed with what matters for kernels`() throws {
    let probe = try GPUProbe(Driver(table: FakeDriver().table))
    #expect(probe.reason == nil)
    #expect(probe.driverVersion == "13.0")
    #expect(probe.devices.map(\.target) == ["sm_90a", "sm_90a"])
    #expect(
      probe.lines[1]
        == "GPU 1         Fake 1, sm_90a (capability 9.0), 1.00 GiB, 132 multiprocessors, "
        + "L2 60.0 MiB, 1980 MHz, memory 3201 MHz, 0000:01:00.0")
    #expect(probe.lines.last == "driver        CUDA 13.0; CUDA 12.0 or newer needed")
  }

  @Test func `an old GPU and a machine without one are named`() throws {
    var configuration = FakeDriver.Configuration()
    configuration.capability = 75
    configuration.deviceCount = 1
    let old = try GPUProbe(Driver(table: FakeDriver(configuration).table))
    #expect(old.devices.map(\.target) == [nil])
    #expect(old.lines[0].contains("not supported: before sm_80"))
    configuration.deviceCount = 0
    let none = try GPUProbe(Driver(table: FakeDriver(configuration).table))
    #expect(none.reason == "the driver finds no device")
  }

  @Test func `caches come from sysfs's folders`() throws {
    let folder = try TemporaryFolder()
    #expect(CacheLevel.all(folder: folder.url.path).isEmpty)
    let texts = [("1", "Data", "48K"), ("2", "Unified", "1024K")]
    for (index, (level, type, size)) in texts.enumerated() {
      let cache = folder.url.appendingPathComponent("index\(index)")
      try FileManager.default.createDirectory(at: cache, withIntermediateDirectories: true)
      for (name, text) in [("level", level), ("type", type), ("size", size)] {
        try Data("\(text)\n".utf8).write(to: cache.appendingPathComponent(name))
      }
    }
    #expect(
      CacheLevel.all(folder: folder.url.path) == [
        CacheLevel(level: 1, type: "Data", size: "48K"),
        CacheLevel(level: 2, type: "Unified", size: "1024K"),
      ])
  }

  @Test func `the report names what is in use`() throws {
    let engine = try CPUBackend(instructionSet: .portable, threadCount: 1).engine
    let report = DevicesReport(engine, measures: false)
    #expect(report.instructionSet == "portable")
    #expect(report.instructionSets.contains("portable"))
    #expect(report.limits == nil)
    #expect(report.text.contains("kernels       portable (available: portable"))
    #expect(report.text.contains("1 threads"))
  }
}
