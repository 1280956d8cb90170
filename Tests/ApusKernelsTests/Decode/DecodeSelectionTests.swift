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
    func mode(_ batch: Int, keys: Int = 1024) -> DecodeMode? {
      makePlan(makeProblem(batch: batch, keys: keys))?.kernel.mode
    }
    #expect(mode(1) == .cluster(8))
    #expect(mode(2) == .cluster(4))
    #expect(mode(4) == .cluster(2))
    #expect(mode(8) == .cluster(2))
    // Two blocks for each row are more than the GPU has.
    #expect(mode(9) == .tokens)
    // 17 MB of keys and values.
    #expect(mode(1, keys: 4352) == .cluster(8))
    #expect(mode(1, keys: 4353) == .tokens)
    #expect(mode(4, keys: 1 << 16) == .cluster(2))
    #expect(mode(49) == .tokens)
    #expect(mode(64) == .heads)
    #expect(makePlan(makeProblem(batch: 128, heads: (12, 3)))?.kernel.mode == .tokens)
  }

  @Test func `clusters and heads leave requests of uneven length to tokens`() {
    func mode(_ lengths: [Int]) -> DecodeMode? {
      let problem = makeProblem {
        $0.qoIndptr = RaggedIndptr(uniform: 1, batch: lengths.count)
        $0.geometry = .padded(maxLength: 1 << 17, lengths: lengths)
      }
      return makePlan(problem)?.kernel.mode
    }
    #expect(mode([1000, 1000, 1000, 1100]) == .cluster(2))
    #expect(mode([1000, 1000, 1000, 2000]) == .tokens)
    let short = [Int](repeating: 1024, count: 127)
    #expect(mode(short + [8192]) == .heads)
    #expect(mode(short + [131072]) == .tokens)
  }

  @Test func `heads have a block for each item where that leaves no row to split`() throws {
    let plan = try #require(makePlan(makeProblem(batch: 64)))
    #expect(plan.kernel.warps == 4)
    #expect(plan.blockCount == 128)
    #expect(plan.workspaceByteCount == 0)
    #expect(makePlan(makeProblem(batch: 128))?.kernel.warps == 8)
    let invariant = makeProblem(batch: 64) { $0.options.isBatchInvariant = true }
    #expect(makePlan(invariant)?.kernel.warps == 8)
  }

  @Test func `the kernel of a batch-invariant plan does not depend on the batch`() throws {
    let types = AttentionTypes(q: .bf16, kv: .e4m3)
    var kernels: Set<DecodeKernel> = []
    for (batch, keys) in [(1, 16), (1, 8192), (64, 1024), (200, 40000)] {
      let problem = makeProblem(batch: batch, keys: keys, types: types) {
        $0.options.isBatchInvariant = true
      }
      kernels.insert(try #require(makePlan(problem)).kernel)
    }
    #expect(kernels.count == 1)
  }

  /// What decides in what order a row's products and weights are added.
  struct Order: Hashable {
    var arithmetic: DecodeArithmetic
    var rowTiles, tilesPerStep: Int
    var mode: DecodeMode
  }

  @Test(arguments: [32, 64, 128, 256], [Precision.fast, .accurate])
  func `sums of a batch-invariant plan do not depend on query tokens of neighbours`(
    _ headDim: Int, _ precision: Precision
  ) throws {
    for type in [ElementType.bf16, .e4m3] {
      var orders: Set<Order> = []
      for queries in [[1], [1, 3], [1, 32]] {
        let problem = makeProblem(
          batch: queries.count, heads: (32, 8), headDim: headDim,
          types: AttentionTypes(q: .bf16, kv: type)
        ) {
          $0.options = ExecutionOptions(precision: precision, isBatchInvariant: true)
          $0.qoIndptr = RaggedIndptr(lengths: queries)
        }
        let kernel = try #require(makePlan(problem)).kernel
        orders.insert(
          Order(
            arithmetic: kernel.arithmetic, rowTiles: kernel.rowTiles,
            tilesPerStep: kernel.tilesPerStep, mode: kernel.mode))
      }
      #expect(orders.count == 1, "\(type): \(orders)")
    }
  }

  @Test func `query rows beyond a tile run two blocks beside each other`() throws {
    let plan = try #require(
      makePlan(
        makeProblem(batch: 16, keys: 8192) { $0.qoIndptr = RaggedIndptr(uniform: 16, batch: 16) }))
    #expect(plan.kernel.blocksPerMultiprocessor == 2)
    #expect(plan.kernel.keepsKeys)
    #expect(plan.blockCount > 132)
    let shared = try plan.kernel.build(for: .sm90a).sharedByteCount
    #expect(2 * (shared + 1024) <= 228 << 10)
  }

  @Test func `long FP8 contexts take four tiles a step`() {
    let types = AttentionTypes(q: .bf16, kv: .e4m3)
    #expect(makePlan(makeProblem(batch: 64, keys: 4095, types: types))?.kernel.tilesPerStep == 2)
    #expect(makePlan(makeProblem(batch: 64, keys: 4096, types: types))?.kernel.tilesPerStep == 4)
    #expect(makePlan(makeProblem(batch: 1, keys: 8192, types: types))?.kernel.tilesPerStep == 2)
  }

  @Test func `every configuration passed over has one reason`() throws {
    let small = try #require(makePlan(makeProblem(batch: 9)))
    #expect(
      small.rejected.map(\.reason) == [
        "rows × KV heads ÷ 8 must be at least 64; found 9",
        "requests × KV heads × 2 must be at most 132; found 144",
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
    ("sm90_decode_tokens_bf16_bf16_bf16_d128_n8_w8_t1x3_window_preq", Target.sm90a),
    ("sm90_decode_cluster8_bf16_bf16_bf16_d128_n8_w8_t1x1_late", .sm90a),
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
    let plan = try #require(makePlan(makeProblem(batch: 1, keys: 8192)))
    let states = plan.schedule.slotCount * 8
    #expect(states > 0)
    #expect(plan.workspaceByteCount == states * (128 + 2) * 4)
    #expect(plan.metadata.count % 16 == 0)
  }
}
