import Apus
import ApusCPU
import ApusCore
import ApusNumerics
import ArgumentParser
import Testing

@testable import ApusCLI

@Suite struct SupportTests {
  @Test(arguments: [
    (0.0, "0 ns"), (1.234e-9, "1.23 ns"), (9.996e-6, "10.0 µs"), (0.5, "500 ms"), (12.34, "12.3 s"),
  ])
  func `times have three digits`(_ seconds: Double, _ text: String) {
    #expect(Format.seconds(seconds) == text)
  }

  @Test func `numbers are short and grouped`() {
    #expect(Format.grouped(0) == "0")
    #expect(Format.grouped(999) == "999")
    #expect(Format.grouped(-1000) == "-1 000")
    #expect(Format.grouped(327_680) == "327 680")
    #expect(Format.grouped(1_234_567_890) == "1 234 567 890")
    #expect(Format.bytes(1536) == "1.50 KiB")
    #expect(Format.percent(0.456) == "46 %")
    #expect(Format.shortest(6) == "6")
    #expect(Format.shortest(4.5) == "4.5")
    #expect(Format.significant(.nan) == "nan")
  }

  @Test func `columns line up and no line ends in spaces`() {
    var table = TextTable([("name", .left), ("n", .right)])
    table.add(["é", "10"])
    table.add(["longer"])
    #expect(
      table.text(indent: 1) == """
         name     n
         ──────  ──
         é       10
         longer
        """)
  }

  @Test func `JSON is sorted and knows infinities`() throws {
    let text = try Output.jsonText(["b": Double.infinity, "a": 1.5])
    #expect(text == "{\n  \"a\" : 1.5,\n  \"b\" : \"inf\"\n}")
  }

  @Test func `relative errors`() {
    #expect(relativeError([3, 4], [3, 4]) == 0)
    #expect(relativeError([3, 5], [3, 4]) == 0.2)
    #expect(relativeError([2], [0]) == 2)
    #expect(relativeError([-.infinity, 1], [-.infinity, 1]) == 0)
    #expect(relativeError([.infinity], [-.infinity]).isNaN)
    #expect(relativeError([.nan], [1]).isNaN)
    #expect(relativeError([1], [1, 2]).isNaN)
  }

  @Test func `system files are read as they are written`() {
    let cpu = "processor\t: 0\nmodel name\t: A CPU @ 2: GHz\nmodel name\t: another\n"
    #expect(MachineInfo.field("model name", inCPUInfo: cpu) == "A CPU @ 2: GHz")
    #expect(MachineInfo.field("Model", inCPUInfo: cpu) == nil)
    let release = "NAME=x\nPRETTY_NAME=\"A System 1\"\n"
    #expect(MachineInfo.prettyName(inOSRelease: release) == "A System 1")
    #expect(MachineInfo.prettyName(inOSRelease: "NAME=x") == nil)
    #expect(MachineInfo.current.coreCount >= 1)
  }

  @Test func `types are spelled in any case`() {
    #expect(ElementType(argument: "BF16") == .bf16)
    #expect(KVLayout(argument: "hnd") == .hnd)
    #expect(InstructionSet(argument: "Portable") == .portable)
    #expect(ElementType(argument: "fp8") == nil)
  }

  @Test func `options configure the back end`() throws {
    let options = try BackendOptions.parse(["--cpu", "portable", "--threads", "1"])
    let engine = try options.makeBackend().engine
    #expect(engine.instructionSet == .portable)
    #expect(engine.threadCount == 1)
    let one = try BackendOptions.parse(["--threads", "3"]).makeBackend().engine
    #expect(one.threadCount == 3)
  }

  @Test func `an impossible thread count is an argument error`() throws {
    let options = try BackendOptions.parse(["--threads", "0"])
    let error = #expect(throws: ApusError.self) { try options.makeBackend() }
    #expect(error.map { "\($0)".contains("threadCount") } == true)
  }

  @Test func `results keep the order of their items and the first error wins`() throws {
    let doubled = try concurrentMap(Array(0..<50)) { (item: Int) in 2 * item }
    #expect(doubled == (0..<50).map { 2 * $0 })
    let error = #expect(throws: ArgumentError.self) {
      try concurrentMap([1, 2, 3]) { item in
        if item > 1 { throw ArgumentError(operation: "\(item)", "a", found: "b") }
      }
    }
    #expect(error?.operation == "2")
  }
}
