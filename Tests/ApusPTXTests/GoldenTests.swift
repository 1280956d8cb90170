import ApusIR
import ApusPTX
import Foundation
import Testing

/// Printed kernels beside the files of `Golden`; `APUS_RECORD=1` writes these anew.
@Suite struct GoldenTests {
  @Test(arguments: Target.allCases)
  func `row softmax prints as recorded`(target: Target) throws {
    try compare(Kernels.rowSoftmax(), target)
  }

  @Test func `ring product prints as recorded`() throws {
    try compare(Kernels.ringProduct(), .sm90a)
  }

  @Test func `printing twice gives the same text`() throws {
    let module = ModuleIR(kernels: [Kernels.ringProduct(), Kernels.rowSoftmax()])
    let printer = PTXPrinter(showsLocations: true)
    #expect(
      try printer.print(module, target: .sm90a) == printer.print(module, target: .sm90a))
  }

  private func compare(_ kernel: KernelIR, _ target: Target) throws {
    #expect(Verifier.verify(kernel, target: target).map(\.description) == [])
    let text = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: target)
    let file = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "Golden/\(kernel.symbol).\(target).ptx")
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let recorded = try String(contentsOf: file, encoding: .utf8)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let golden = recorded.split(separator: "\n", omittingEmptySubsequences: false)
    let first = zip(lines, golden).enumerated().first { $0.element.0 != $0.element.1 }
    #expect(
      text == recorded,
      "\(file.lastPathComponent), line \(first.map { $0.offset + 1 } ?? 0): \(first?.element.0 ?? "")"
    )
  }
}
