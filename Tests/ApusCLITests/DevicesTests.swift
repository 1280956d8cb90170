import Apus
import ApusCPU
import Foundation
import Testing

@testable import ApusCLI

@Suite struct DevicesTests {
  @Test func `a machine without a driver says so`() {
    let probe = GPUProbe.probe(library: "libnothing-of-this-name.so.1")
    #expect(probe.devices.isEmpty)
    #expect(probe.driverVersion == nil)
    #expect(probe.reason == "no NVIDIA driver: libnothing-of-this-name.so.1 not found")
  }

  @Test func `a library that is no driver says so`() {
    #if os(Linux)
      let probe = GPUProbe.probe(library: "libc.so.6")
      #expect(probe.reason == "libc.so.6 lacks the functions of the CUDA driver")
    #endif
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
