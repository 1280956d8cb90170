import ApusDSL
import ApusIR
import ApusPTX
import ApusSimulator
import ApusTutorial
import Testing

@Suite struct GettingStartedTests {
  @Test func `a kernel is built, run and printed`() throws {
    let kernel = try VectorAdd().build()

    var memory = GlobalMemory()
    let x = memory.bind("x", elements: [1, 2, 3] as [Float])
    let y = memory.bind("y", elements: [10, 20, 30] as [Float])
    let z = memory.bindOutput("z", byteCount: 12)
    let report = Simulator(kernel).run(
      grid: GridSize(1),
      arguments: [.pointer(x), .pointer(y), .pointer(z), .scalar(.u32(3))], memory: &memory)
    #expect(report.errors == [])
    #expect(memory.elements(at: z, as: Float.self) == [11, 22, 33])

    let ptx = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: .sm80)
    try Article.expect(ptx.trimmed, at: "ptx 1")
    try Article.expect(TextPrinter(showsLocations: false).print(kernel).trimmed, at: "ir 1")
  }

  @Test func `a mistake in a kernel's construction names its line`() throws {
    do throws(ElaborationError) {
      _ = try RowSoftmax(columns: 40).build()
      Issue.record("built")
    } catch {
      try Article.expect(error.description, at: "failure 2")
    }
  }
}

extension String {
  /// Without blank lines at the end.
  fileprivate var trimmed: String {
    var text = self[...]
    while text.last == "\n" { text.removeLast() }
    return String(text)
  }
}
