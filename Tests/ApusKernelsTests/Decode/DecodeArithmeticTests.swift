import ApusCore
import ApusIR
import ApusKernels
import ApusNumerics
import ApusTestSupport
import Testing

/// Ordinary cores beside tensor cores, and what both add to scores.
@Suite struct DecodeArithmeticTests {
  private func expectRight(_ value: DecodeCase, isOnCores: Bool? = nil) throws {
    let outcome = try value.run()
    #expect(outcome.complaints == [], "seed \(value.seed), \(value.types)")
    guard let isOnCores else { return }
    #expect((outcome.plan?.kernel.arithmetic != .tensorCores) == isOnCores)
  }

  @Test(
    arguments: [
      (ElementType.f32, ElementType.f32, ElementType.f32), (.bf16, .bf16, .bf16),
      (.f16, .bf16, .f32), (.bf16, .e4m3, .bf16), (.f16, .e5m2, .f16), (.f32, .f16, .f32),
    ], [1, 2, 4, 7, 12])
  func `ordinary cores compute every combination of types and group in f32`(
    _ types: (q: ElementType, kv: ElementType, o: ElementType), _ group: Int
  ) throws {
    var value = DecodeCase()
    value.types = AttentionTypes(q: types.q, kv: types.kv, o: types.o)
    value.qoHeads = 2 * group
    value.options = ExecutionOptions(useTensorCores: .never)
    value.seed = UInt64(group)
    try expectRight(value, isOnCores: true)
    value.placement = .combinedPages(5)
    try expectRight(value, isOnCores: true)
  }

  @Test(
    arguments: [8, 24, 40, 72, 80, 96, 120, 136, 192, 256, 512],
    [ElementType.f32, .bf16, .e4m3])
  func `every multiple of 8 is a head dimension`(_ headDim: Int, _ cache: ElementType) throws {
    guard cache != .e4m3 || headDim % 16 == 0 else { return }
    var value = DecodeCase()
    value.headDim = headDim
    value.kvLengths = [0, 17, 70]
    value.qoHeads = 6
    value.types = AttentionTypes(q: cache == .f32 ? .f32 : .bf16, kv: cache)
    try expectRight(value, isOnCores: cache == .f32 || headDim > 256)
    value.options = ExecutionOptions(useTensorCores: .never)
    try expectRight(value, isOnCores: true)
  }

  @Test func `precision and options choose the path`() {
    func arithmetic(_ change: (inout DecodeCase) -> Void) throws -> DecodeArithmetic? {
      var value = DecodeCase()
      value.kvLengths = [5]
      change(&value)
      return try value.run().plan?.kernel.arithmetic
    }
    #expect(throws: Never.self) {
      #expect(try arithmetic { _ in } == .tensorCores)
      #expect(try arithmetic { $0.options.precision = .accurate } == .cores(rows: 4))
      #expect(
        try arithmetic { $0.options.precision = .automatic(tolerance: 1e-3) } == .cores(rows: 4))
      #expect(try arithmetic { $0.options.useTensorCores = .never } == .cores(rows: 4))
      #expect(try arithmetic { $0.types = AttentionTypes(q: .f32) } == .cores(rows: 4))
      let both = try arithmetic {
        $0.types = AttentionTypes(q: .f32)
        $0.options.useTensorCores = .always
      }
      #expect(both == nil)
    }
  }

  /// Query tokens, mask, cap, and whether there are slopes and a custom mask.
  struct Added: CustomStringConvertible, Sendable {
    let description: String
    var queries: [Int] = []
    var mask = AttentionMask.none
    var cap: Float?
    var hasSlopes = false
    var order: BitOrder?
  }

  @Test(
    arguments: [
      Added(description: "slopes", hasSlopes: true),
      Added(
        description: "slopes, causal", queries: [1, 3, 2, 5, 3, 4], mask: .causal,
        hasSlopes: true),
      Added(
        description: "slopes, cap, window", queries: [1, 3, 2, 5, 3, 4],
        mask: AttentionMask(isCausal: true, windowLeft: 20), cap: 5, hasSlopes: true),
      Added(description: "mask", queries: [1, 3, 2, 5, 3, 4], order: .little),
      Added(
        description: "mask, slopes, causal", queries: [1, 3, 2, 16, 3, 4], mask: .causal,
        hasSlopes: true, order: .big),
    ], [TensorCoreUse.automatic, .always, .never])
  func `slopes and custom masks are right on both paths`(
    _ added: Added, _ use: TensorCoreUse
  ) throws {
    for cache in [ElementType.bf16, .e4m3] {
      var value = DecodeCase()
      value.types = AttentionTypes(q: .bf16, kv: cache)
      value.qoLengths = added.queries
      value.mask = added.mask
      value.modification.logitsSoftCap = added.cap
      value.options = ExecutionOptions(useTensorCores: use)
      if added.hasSlopes {
        value.modification.alibiSlopes = (0..<value.qoHeads).map { 0.5 / Float($0 + 1) }
      }
      if let order = added.order {
        var random = SplitMix64(seed: 3)
        var bytes: [UInt8] = []
        var offsets = [0]
        for (queries, keys) in zip(added.queries, value.kvLengths) {
          bytes += (0..<(queries * keys + 7) / 8).map { _ in
            UInt8.random(in: 0...255, using: &random)
          }
          offsets.append(bytes.count)
        }
        value.mask = AttentionMask(
          isCausal: added.mask.isCausal,
          custom: CustomMask(bytes: bytes, byteIndptr: RaggedIndptr(offsets), bitOrder: order))
      }
      try expectRight(value)
      value.target = .sm80
      try expectRight(value)
    }
  }
}
