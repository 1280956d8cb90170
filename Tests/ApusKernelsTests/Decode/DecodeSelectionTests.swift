import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import ApusPTX
import Foundation
import Testing

/// What is supported, which configuration a problem gets, and what others are told.
@Suite struct DecodeSelectionTests {
  private func makeProblem(
    batch: Int = 1, keys: Int = 1024, heads: (Int, Int) = (32, 8), headDim: Int = 128,
    types: AttentionTypes = AttentionTypes(q: .bf16), pageSize: Int = 16,
    _ change: (inout AttentionProblem) -> Void = { _ in }
  ) -> AttentionProblem {
    let pages = (keys + pageSize - 1) / pageSize
    var problem = AttentionProblem(
      shape: AttentionShape(
        qoHeadCount: heads.0, kvHeadCount: heads.1, headDimQK: headDim),
      types: types, qoIndptr: RaggedIndptr(uniform: 1, batch: batch),
      geometry: .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(uniform: pages, batch: batch),
          indices: [Int32](repeating: 0, count: pages * batch),
          lastPageLength: [Int32](
            repeating: Int32((keys - 1) % pageSize + 1), count: batch))))
    change(&problem)
    return problem
  }

  private func makePlan(_ problem: AttentionProblem, target: Target = .sm90a) -> DecodePlan? {
    DecodeLaunch.plan(problem, target: target, multiprocessorCount: 132)
  }

  @Test func `little work runs in clusters, small batches divide tokens, large ones heads`() {
    #expect(makePlan(makeProblem(batch: 1))?.kernel.mode == .cluster(16))
    let types = AttentionTypes(q: .bf16, kv: .e4m3)
    #expect(makePlan(makeProblem(batch: 1, types: types))?.kernel.mode == .cluster(8))
    #expect(makePlan(makeProblem(batch: 1, keys: 2112))?.kernel.mode == .cluster(16))
    #expect(makePlan(makeProblem(batch: 1, keys: 2113))?.kernel.mode == .tokens)
    #expect(makePlan(makeProblem(batch: 2))?.kernel.mode == .tokens)
    #expect(makePlan(makeProblem(batch: 63))?.kernel.mode == .tokens)
    #expect(makePlan(makeProblem(batch: 64))?.kernel.mode == .heads)
    #expect(makePlan(makeProblem(batch: 128, heads: (12, 4)))?.kernel.mode == .tokens)
  }

  @Test func `long FP8 contexts take four tiles a step`() {
    let types = AttentionTypes(q: .bf16, kv: .e4m3)
    #expect(makePlan(makeProblem(batch: 64, keys: 4095, types: types))?.kernel.tilesPerStep == 2)
    #expect(makePlan(makeProblem(batch: 64, keys: 4096, types: types))?.kernel.tilesPerStep == 4)
    #expect(makePlan(makeProblem(batch: 1, keys: 8192, types: types))?.kernel.tilesPerStep == 2)
  }

  @Test func `every configuration passed over has one reason`() throws {
    let small = try #require(makePlan(makeProblem(batch: 2)))
    #expect(
      small.rejected.map(\.reason) == [
        "rows × KV heads ÷ 8 must be at least 64; found 2",
        "requests × KV heads × 16 must be at most 132; found 256",
      ])
    let odd = try #require(makePlan(makeProblem(pageSize: 7)))
    #expect(
      odd.rejected.map(\.reason) == [
        "page size must be a multiple of 16; found 7",
        "rows × KV heads ÷ 8 must be at least 64; found 1", "clusters need tensor copies",
      ])
    #expect(odd.kernel.loader == .gather)
    let old = try #require(makePlan(makeProblem(heads: (4, 2)), target: .sm80))
    #expect(
      old.rejected.map(\.reason) == [
        "tensor copies need sm_90a; found sm_80", "KV heads must be a multiple of 8; found 2",
        "clusters need tensor copies",
      ])
  }

  @Test func `boxes do not straddle pages`() throws {
    let types = AttentionTypes(q: .bf16, kv: .e4m3)
    for (pageSize, tiles) in [(16, 1), (32, 2), (48, 1), (64, 2), (80, 1)] {
      let plan = try #require(makePlan(makeProblem(types: types, pageSize: pageSize)))
      #expect(plan.kernel.tilesPerBox == tiles, "page size \(pageSize)")
    }
  }

  @Test func `what is not supported is said`() {
    func reason(_ change: (inout AttentionProblem) -> Void) -> String? {
      DecodeLaunch.unsupportedReason(makeProblem(change), target: .sm90a)
    }
    #expect(DecodeLaunch.unsupportedReason(makeProblem(), target: .sm90a) == nil)
    #expect(DecodeLaunch.unsupportedReason(makeProblem(), target: .sm80) == nil)
    let expectations: [(String, (inout AttentionProblem) -> Void)] = [
      ("q must be f16, bf16 or f32; found e5m2", { $0.types.q = .e5m2 }),
      ("o must be f16, bf16 or f32; found e4m3", { $0.types.o = .e4m3 }),
      (
        "query tokens × group must be at most 128; found 33 × 4",
        { $0.qoIndptr = RaggedIndptr(uniform: 33, batch: 1) }
      ),
      (
        "tensor cores need 16- or 8-bit K and V; found f32; found useTensorCores: always",
        {
          $0.types = AttentionTypes(q: .bf16, kv: .f32, o: .bf16)
          $0.options.useTensorCores = .always
        }
      ),
      ("softmaxScale must be positive; found 0.0", { $0.modification.softmaxScale = 0 }),
    ]
    for (text, change) in expectations { #expect(reason(change) == "decode: " + text) }
    #expect(reason { $0.options.precision = .automatic(tolerance: 1e-3) } == nil)
  }

  @Test func `every row of the catalogue builds for its targets`() throws {
    let rows = KernelCatalog.all.compactMap { $0 as? DecodeKernel }
    #expect(rows.count >= 20)
    for row in rows {
      for target in row.targets {
        #expect(throws: Never.self, "\(row.symbol) on \(target)") { try row.build(for: target) }
      }
    }
  }

  /// `Golden/<symbol>.<target>.ptx`; recorded anew with APUS_RECORD=1.
  @Test(arguments: [
    ("sm90_decode_tokens_bf16_bf16_bf16_d128_n8_w8_t1x3", Target.sm90a),
    ("sm90_decode_cluster16_bf16_bf16_bf16_d128_n8_w8_t1x1", .sm90a),
  ])
  func `a telling row prints as its golden text`(_ symbol: String, _ target: Target) throws {
    let row = try #require(KernelCatalog.all.first { $0.symbol == symbol })
    let printed = try PTXPrinter().print(
      ModuleIR(kernels: [try row.build(for: target)]), target: target)
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Golden/\(symbol).\(target).ptx")
    if ProcessInfo.processInfo.environment["APUS_RECORD"] == "1" {
      try printed.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(printed == (try String(contentsOf: file, encoding: .utf8)))
  }

  @Test func `a configuration that cannot be built says why`() {
    var kernel = DecodeKernel(
      queryType: .f32, cacheType: .bf16, outputType: .e4m3, headDim: 72, mode: .tokens, warps: 6,
      tilesPerStep: 3, tilesPerBox: 2, stages: 9)
    kernel.rowTiles = 3
    do {
      _ = try kernel.build()
      Issue.record("the kernel must be refused")
    } catch {
      let text = "\(error)"
      for part in ["f32, bf16, e4m3", "72, 3, tokens", "6, 3 by 2, 9"] {
        #expect(text.contains(part), "\(text)")
      }
    }
  }

  @Test func `the workspace holds two floats and a row for each partial state`() throws {
    let plan = try #require(makePlan(makeProblem(batch: 1, keys: 4096)))
    let states = plan.schedule.slotCount * 8
    #expect(states > 0)
    #expect(plan.workspaceByteCount == states * (128 + 2) * 4)
    #expect(plan.metadata.count % 16 == 0)
  }
}
