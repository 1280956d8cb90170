import ApusDSL
import ApusIR
import Foundation
import Testing

@Suite struct GoldenTests {
  static let kernels: [any Kernel] = [
    VectorAdd(threads: 128), RowSoftmax(columns: 64, warps: 4), TransposingCopy(),
    WarpProduct(columns: 16), RingProduct(columns: 16, stages: 2),
  ]

  /// `Golden/<symbol>.ir`; recorded anew with APUS_RECORD=1.
  @Test(arguments: kernels.indices)
  func `an example kernel verifies and prints as its golden text`(_ index: Int) throws {
    let kernel = Self.kernels[index]
    let printed = text(try kernel.build())
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Golden/\(kernel.symbol).ir")
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try printed.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(printed == (try String(contentsOf: file, encoding: .utf8)))
  }

  @Test func `building twice gives the same kernel`() throws {
    for kernel in Self.kernels {
      #expect(try kernel.build() == kernel.build())
    }
  }
}
