import ApusAssembler
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusPTX
import Testing

/// The machine code of rows with warpgroup products: what the source orders, the assembler kept.
///
/// Prints the share of exponentials beside products, and SKIP where a tool is missing.
@Suite struct CatalogSASSTests {
  private static let disassembler: Nvdisasm? = {
    let found = Nvdisasm.find()
    if found == nil {
      print(
        "SKIP SASS: no nvdisasm in APUS_NVDISASM, PATH or .venv-nvdisasm; Scripts/ptxas-install")
    }
    return found
  }()

  /// Products of a kernel's IR.
  private func hasProducts(_ kernel: KernelIR) -> Bool {
    var found = false
    kernel.body.forEachNode { node, _ in
      if case .tensorCore(.wgmma) = node.op { found = true }
    }
    return found
  }

  @Test func `no register of a product is used before its wait`() throws {
    guard let disassembler = Self.disassembler, let assembler = try CatalogRow.assembler.get()
    else { return }
    for row in try CatalogRow.all.get() where row.target == .sm90a && hasProducts(row.ir) {
      let outcome = try assembler.tool.assemble(
        row.ptx, architecture: "\(row.target)", keepsCode: true)
      let text = try disassembler.disassemble(outcome.code)
      let function = try #require(SASSFunction.parse(text).first { $0.name == row.symbol })
      let check = WarpgroupCheck(function)
      #expect(check.findings.map(\.description) == [], "\(row.symbol)")
      #expect(check.productCount > 0, "\(row.symbol)")
      let timeline = ProductTimeline(function, check)
      print(
        "sass \(row.symbol): \(check.productCount) products, \(check.groupCount) groups, "
          + "\(check.waitCount) waits, \(timeline.overlapped) of \(timeline.exponentials) MUFU.EX2 "
          + "beside products")
    }
  }

  /// Assemblers move arithmetic across waits unless something holds it: with the pin, all
  /// exponentials of a step must run beside the product that the step's second wait is for.
  @Test(arguments: [64, 128], [false, true])
  func `pinned softmax stays between the waits where it was put`(
    headDim: Int, isCausal: Bool
  ) throws {
    guard let disassembler = Self.disassembler, let assembler = try CatalogRow.assembler.get()
    else { return }
    let configuration = DensePrefillConfiguration(
      .bf16, headDim: headDim, isCausal: isCausal, pinnedSoftmax: .weights)
    let kernel = try PrefillKernel(configuration).build(for: .sm90a)
    let text = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: .sm90a)
    let outcome = try assembler.tool.assemble(text, architecture: "sm_90a", keepsCode: true)
    #expect(outcome.warnings == [])
    let function = try #require(
      SASSFunction.parse(try disassembler.disassemble(outcome.code)).first)
    let timeline = ProductTimeline(function, WarpgroupCheck(function))
    print("sass \(kernel.symbol): \(timeline.overlapped) of \(timeline.exponentials)")
    // A thread holds tileKV / 2 scores of a step; a causal kernel has two forms of the step.
    let perStep = configuration.tileKV / 2
    let overlapping = timeline.spans.filter { $0.event == .wait(allowed: 1) }
    #expect(overlapping.count == (isCausal ? 2 : 1), "\(timeline)")
    for span in overlapping { #expect(span.overlapped >= perStep, "\(timeline)") }
  }
}
