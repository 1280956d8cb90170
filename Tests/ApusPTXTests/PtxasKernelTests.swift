import ApusAssembler
import ApusIR
import ApusPTX
import Testing

/// Whole kernels through the assembler: no spills, no warnings, no serialised products.
@Suite(.enabled(if: Ptxas.isAvailable)) struct PtxasKernelTests {
  @Test(arguments: Target.allCases)
  func `row softmax assembles without spills`(target: Target) throws {
    try check(Kernels.rowSoftmax(), target, registerLimit: 128)
  }

  @Test func `ring product assembles without spills or serialised products`() throws {
    try check(Kernels.ringProduct(), .sm90a, registerLimit: 255)
  }

  @Test(arguments: [Target.sm80, .sm86, .sm89])
  func `legalised ops assemble where they are missing`(target: Target) throws {
    let variants = EveryOp.all.enumerated().filter { _, variant in
      switch variant.op {
      case .conversion(.widenFP8): true
      case .arithmetic(.add), .arithmetic(.sub), .arithmetic(.mul):
        variant.operands.first?.elementType == .bf16
      default: false
      }
    }.map { (index: $0.offset, variant: $0.element) }
    #expect(variants.count == 8)
    try check(
      Legalisation.run(Variant.kernel(variants), target: target), target, registerLimit: 255)
  }

  private func check(_ kernel: KernelIR, _ target: Target, registerLimit: Int) throws {
    let ptxas = try #require(Ptxas.found)
    let text = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: target)
    let outcome = try ptxas.assemble(text, architecture: "\(target)")
    #expect(outcome.status == 0, "\(outcome.log)")
    #expect(outcome.warnings == [])
    let usage = try #require(outcome.usage[kernel.symbol], "\(outcome.log)")
    print("\(kernel.symbol) \(target): \(usage)")
    #expect(usage.spillBytes == 0)
    #expect(usage.stackBytes == 0)
    #expect((1...registerLimit).contains(usage.registers))
    #expect(usage.sharedBytes == 0, "the window is dynamic")
  }
}
