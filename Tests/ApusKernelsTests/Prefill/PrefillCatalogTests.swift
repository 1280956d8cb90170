import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusPTX
import Foundation
import Testing

/// Configurations, their choice and their printed code.
@Suite struct PrefillCatalogTests {
  private func problem(
    _ qo: Int, _ kv: Int, headDim: Int = 128, isCausal: Bool = false, heads: Int = 16,
    batch: Int = 1, mutate: (inout AttentionProblem) -> Void = { _ in }
  ) -> AttentionProblem {
    var problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: heads, kvHeadCount: heads, headDimQK: headDim),
      types: AttentionTypes(q: .bf16), qoIndptr: RaggedIndptr(uniform: qo, batch: batch),
      geometry: .ragged(RaggedIndptr(uniform: kv, batch: batch)),
      mask: isCausal ? .causal : .none)
    mutate(&problem)
    return problem
  }

  @Test func `every row of the catalogue builds within its predicted registers`() throws {
    let rows = KernelCatalog.all.compactMap { $0 as? PrefillKernel }
    #expect(rows.count == 32)
    for row in rows {
      #expect(row.configuration.violations == [], "\(row.symbol)")
      let kernel = try row.build()
      for estimate in kernel.registerEstimates where estimate.role == "consumer" {
        #expect(estimate.total <= estimate.budget, "\(row.symbol): \(estimate)")
      }
    }
  }

  @Test func `the symbol tells configurations apart`() {
    let rows = DensePrefill.candidates(
      for: problem(4096, 4096), writesLSE: true, isThorough: true)
    #expect(rows.count > 100)
    #expect(Set(rows.map(\.symbol)).count == rows.count)
    #expect(
      DensePrefillConfiguration(.bf16, headDim: 128, isCausal: true, clusterSize: 2).symbol
        == "sm90_prefill_bf16_d128_causal_lse_m128_n128_s2_c2_qreg_lazy")
  }

  @Test func `a configuration that cannot be built says why`() {
    let large = DensePrefillConfiguration(.bf16, headDim: 128, tileKV: 192, stages: 3)
    #expect(large.violations.count == 2, "\(large.violations)")
    #expect(throws: ElaborationError.self) { try PrefillKernel(large).build() }
    let odd = DensePrefillConfiguration(
      .e4m3, headDim: 96, tileQ: 100, tileKV: 40, stages: 1, clusterSize: 4)
    #expect(odd.violations.count >= 6, "\(odd.violations)")
  }

  @Test func `long contexts get configurations of their own`() {
    func configuration(_ problem: AttentionProblem) -> DensePrefillConfiguration? {
      DensePrefill.choose(problem, writesLSE: false, multiprocessorCount: 132).configuration
    }
    func chosen(_ problem: AttentionProblem) -> Int? { configuration(problem)?.clusterSize }
    #expect(configuration(problem(16384, 16384))?.tileQ == 192)
    #expect(configuration(problem(4096, 4096, batch: 4))?.tileQ == 128)
    #expect(configuration(problem(16384, 16384, isCausal: true))?.tileQ == 128)
    #expect(configuration(problem(16384, 16384, headDim: 64))?.tileQ == 128)
    #expect(chosen(problem(4096, 4096, batch: 4)) == 1)
    #expect(chosen(problem(4096, 4096, isCausal: true, batch: 4)) == 1)
    #expect(chosen(problem(16384, 16384, isCausal: true)) == 2)
    #expect(chosen(problem(128, 4096, batch: 4)) == 1)
    #expect(chosen(problem(256, 4096, heads: 2)) == 1)
    #expect(chosen(problem(4096, 4096, headDim: 64, batch: 4)) == 1)
    let choice = DensePrefill.choose(
      problem(128, 4096), writesLSE: true, multiprocessorCount: 132)
    #expect(choice.rejected.map(\.reason).count == 1)
  }

  @Test func `a problem of another kind is refused with what is supported`() {
    func refusal(_ mutate: (inout AttentionProblem) -> Void) -> String {
      DensePrefill.refusal(of: problem(100, 100, batch: 2, mutate: mutate)) ?? "supported"
    }
    #expect(refusal { _ in } == "supported")
    #expect(refusal { $0.types = AttentionTypes(q: .f32) }.contains("bf16 or f16"))
    #expect(refusal { $0.types.kv = .e4m3 }.contains("bf16 or f16"))
    #expect(refusal { $0.mask.windowLeft = 3 }.contains("full and causal"))
    #expect(refusal { $0.modification.logitsSoftCap = 3 }.contains("plain scores"))
    #expect(refusal { $0.modification.softmaxScale = -1 }.contains("softmax scale"))
    #expect(refusal { $0.options.precision = .accurate }.contains("accurate"))
    #expect(
      refusal { $0.qoIndptr = RaggedIndptr([0, 100, 201]) }.contains("equal lengths"))
    #expect(refusal { $0.qoIndptr = RaggedIndptr([0, 0, 0]) }.contains("1…2^30"))
    #expect(
      refusal { $0.shape = AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 96) }
        .contains("64 and 128"))
  }

  private func arguments(
    _ problem: AttentionProblem, address: UInt = 4096, rowStride: Int = 2048,
    mutate: (inout AttentionArguments) -> Void = { _ in }
  ) -> AttentionArguments {
    let shape = problem.shape
    func view(_ rows: Int, _ heads: Int) -> TensorView {
      TensorView(
        address: address, byteCount: rows * rowStride * 2, scalarType: .bf16,
        shape: [rows, heads, shape.headDimQK], strides: [rowStride, shape.headDimQK, 1])
    }
    let kv = view(problem.batch * problem.kvLength(0), shape.kvHeadCount)
    var arguments = AttentionArguments(
      q: .packed(view(problem.qoIndptr.end, shape.qoHeadCount)), kv: .separate(k: kv, v: kv),
      o: view(problem.qoIndptr.end, shape.qoHeadCount))
    mutate(&arguments)
    return arguments
  }

  @Test func `tensors that a tensor map cannot describe are refused`() {
    let problem = problem(100, 100, batch: 2)
    func refusal(_ arguments: AttentionArguments) -> String {
      DensePrefill.refusal(of: problem, arguments) ?? "supported"
    }
    #expect(refusal(arguments(problem)) == "supported")
    #expect(refusal(arguments(problem, address: 4104)).contains("16 bytes; found 8 beyond"))
    #expect(refusal(arguments(problem, rowStride: 2052)).contains("multiple of 8 elements"))
    #expect(refusal(arguments(problem) { $0.scales.v = .tensor(2) }).contains("scales"))
    #expect(refusal(arguments(problem) { $0.scales.q = .tensor(2) }) == "supported")
    #expect(refusal(arguments(problem) { $0.sinks = $0.o }).contains("sinks"))
    #expect(
      refusal(arguments(problem) { $0.q = .split(nope: $0.o, rope: $0.o) }).contains("one tensor"))
  }

  @Test func `the grid is a block per multiprocessor, whole clusters, and no more than the tiles`()
    throws
  {
    func grid(_ problem: AttentionProblem, cluster: Int) throws -> Int {
      let configuration = DensePrefillConfiguration(
        .bf16, headDim: 128, writesLSE: false, clusterSize: cluster)
      let launch = try #require(
        DensePrefill.launch(
          problem, arguments(problem), configuration: configuration, multiprocessorCount: 132,
          counter: .workspace(byteOffset: 0)))
      #expect(launch.values.count == (try launch.kernel.build()).parameters.count)
      return launch.grid.x
    }
    #expect(try grid(problem(4096, 4096, batch: 4), cluster: 1) == 132)
    #expect(try grid(problem(4096, 4096, batch: 4), cluster: 2) == 132)
    #expect(try grid(problem(129, 10, heads: 3), cluster: 1) == 6)
    #expect(try grid(problem(129, 10, heads: 3), cluster: 2) == 6)
    #expect(try grid(problem(1, 10, heads: 3), cluster: 2) == 6)
  }

  /// `Golden/<symbol>.sm_90a.ptx`; recorded anew with APUS_RECORD=1.
  @Test(arguments: [
    DensePrefillConfiguration(.bf16, headDim: 128, clusterSize: 2, pinnedSoftmax: .maxima),
    DensePrefillConfiguration(.bf16, headDim: 128, isCausal: true, pinnedSoftmax: .maxima),
    DensePrefillConfiguration(.f16, headDim: 64, isCausal: true, pingPong: true),
    DensePrefillConfiguration(
      .bf16, headDim: 128, queriesInRegisters: false, pingPong: true, lazyRescale: false,
      pinnedSoftmax: .weights, output: .direct, schedule: .fixed),
  ])
  func `telling rows print as recorded`(_ configuration: DensePrefillConfiguration) throws {
    let kernel = try PrefillKernel(configuration).build()
    let text = try PTXPrinter().print(ModuleIR(kernels: [kernel]), target: .sm90a)
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Golden/\(kernel.symbol).sm_90a.ptx")
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let recorded = try String(contentsOf: file, encoding: .utf8)
    let lines = zip(text.split(separator: "\n"), recorded.split(separator: "\n"))
    let first = lines.enumerated().first { $0.element.0 != $0.element.1 }
    #expect(
      text == recorded,
      "\(file.lastPathComponent), line \(first.map { $0.offset + 1 } ?? 0): \(first?.element.0 ?? "")"
    )
  }
}
