import ApusCore
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

/// The kernel in the simulator against the definition: lengths 0, 1, 15, 16, 17 and more, growing
/// scores, NaN in every slot that no token uses and in the outputs before.
@Suite struct DecodeSimulationTests {
  /// A case with its name.
  struct Named: CustomStringConvertible, Sendable {
    let description: String
    let make: @Sendable (inout DecodeCase) -> Void

    init(_ description: String, _ make: @escaping @Sendable (inout DecodeCase) -> Void) {
      self.description = description
      self.make = make
    }

    var value: DecodeCase {
      var value = DecodeCase()
      make(&value)
      return value
    }
  }

  private func expectRight(_ value: DecodeCase, repeats: Int = 1) throws {
    let outcome = try value.run(repeats: repeats)
    #expect(outcome.complaints == [], "seed \(value.seed), \(value.placement)")
  }

  @Test(arguments: [
    (ElementType.bf16, ElementType.bf16, ElementType.bf16), (.f16, .f16, .f16),
    (.bf16, .f16, .f32), (.bf16, .e4m3, .bf16), (.f16, .e4m3, .f32), (.bf16, .e5m2, .f16),
    (.f16, .e5m2, .f16), (.bf16, .bf16, .f32),
  ])
  func `every combination of types is right`(
    _ q: ElementType, _ kv: ElementType, _ o: ElementType
  ) throws {
    var value = DecodeCase()
    value.types = AttentionTypes(q: q, kv: kv, o: o)
    try expectRight(value)
    value.target = .sm80
    try expectRight(value)
  }

  @Test(arguments: [1, 2, 3, 5, 6, 7, 8, 9, 12, 16])
  func `every group is right`(_ group: Int) throws {
    var value = DecodeCase()
    value.qoHeads = 2 * group
    value.seed = UInt64(group)
    try expectRight(value)
  }

  @Test(arguments: [32, 64, 96, 128, 160, 192, 224, 256], [ElementType.bf16, .e4m3])
  func `every head dimension is right`(_ headDim: Int, _ cache: ElementType) throws {
    var value = DecodeCase()
    value.headDim = headDim
    value.kvHeads = 1
    value.qoHeads = 3
    value.types = AttentionTypes(q: .bf16, kv: cache)
    try expectRight(value)
    value.target = .sm80
    try expectRight(value)
  }

  @Test(
    arguments: [
      DecodeCase.Placement.pages(16), .combinedPages(16), .blockTable(16), .pages(48),
      .combinedPages(64), .blockTable(128), .pages(1), .combinedPages(5), .blockTable(24), .padded,
      .ragged,
    ], [KVLayout.nhd, .hnd])
  func `every placement is right`(
    _ placement: DecodeCase.Placement, _ layout: KVLayout
  ) throws {
    var value = DecodeCase()
    value.placement = placement
    value.layout = layout
    value.types = AttentionTypes(q: .bf16, kv: layout == .nhd ? .e4m3 : .bf16)
    try expectRight(value)
  }

  @Test(arguments: [1, 2, 5, 13, 40])
  func `every number of blocks gives right results, three times the same`(_ blocks: Int) throws {
    for (lengths, heads) in [([0, 1, 17, 200, 40], 2), ([500], 1)] {
      var value = DecodeCase()
      value.kvLengths = lengths
      value.kvHeads = heads
      value.qoHeads = 4 * heads
      value.blocks = blocks
      try expectRight(value, repeats: 3)
    }
  }

  @Test(arguments: [ElementType.bf16, .e4m3], [nil, 16, 64])
  func `heads of a page in one block are right`(_ cache: ElementType, _ split: Int?) throws {
    var value = DecodeCase()
    value.kvHeads = 8
    value.qoHeads = 24
    value.kvLengths = [0, 1, 16, 17, 130]
    value.types = AttentionTypes(q: .bf16, kv: cache)
    value.options = ExecutionOptions(splitSize: split, isBatchInvariant: true)
    let outcome = try value.run(repeats: 2)
    #expect(outcome.complaints == [])
    #expect(outcome.plan?.kernel.mode == .heads)
  }

  @Test(arguments: [
    (1, ElementType.bf16, 8), (4, .bf16, 16), (8, .bf16, 4), (3, .e4m3, 8), (5, .bf16, 2),
  ])
  func `blocks of a cluster are right, three times the same`(
    _ group: Int, _ cache: ElementType, _ size: Int
  ) throws {
    for lengths in [[1], [0], [75, 17], [300]] {
      var value = DecodeCase()
      value.kvLengths = lengths
      value.qoHeads = 2 * group
      value.types = AttentionTypes(q: .bf16, kv: cache)
      value.hasSinks = lengths.count > 1
      value.blocks = 132
      value.tuning = DecodeTuning("cluster", mode: .cluster(size))
      let outcome = try value.run(repeats: 3)
      #expect(outcome.complaints == [])
      #expect(outcome.plan?.kernel.mode == .cluster(size))
      #expect(outcome.plan?.workspaceByteCount == 0)
    }
  }

  @Test func `a request's bits do not depend on its batch when asked`() throws {
    var value = DecodeCase()
    value.kvHeads = 8
    value.qoHeads = 8
    value.options = ExecutionOptions(splitSize: 32, isBatchInvariant: true)
    value.kvLengths = [75]
    let alone = try value.run()
    // The generator gives the first request the same tensors only if it comes first: same q rows,
    // while K and V are compared through a batch of the same single request on other blocks.
    value.blocks = 1
    let packed = try value.run()
    #expect(alone.complaints + packed.complaints == [])
    #expect(alone.bytes == packed.bytes)
  }

  /// Both batches have as many rows and keys, so that the generator gives the first request, of one
  /// query token, the same tensors; only its neighbours' query tokens differ.
  @Test(arguments: [
    (Precision.fast, 128), (.fast, 32), (.accurate, 64), (.accurate, 128),
  ])
  func `a request's bits do not depend on the query tokens of its neighbours when asked`(
    _ precision: Precision, _ headDim: Int
  ) throws {
    func bits(_ queries: [Int], _ keys: [Int]) throws -> [UInt8] {
      var value = DecodeCase()
      (value.kvHeads, value.qoHeads, value.headDim) = (8, 32, headDim)
      (value.qoLengths, value.kvLengths) = (queries, keys)
      value.options = ExecutionOptions(precision: precision, splitSize: 64, isBatchInvariant: true)
      let outcome = try value.run()
      #expect(outcome.complaints == [])
      return Array(outcome.bytes.prefix(value.qoHeads * headDim * value.types.o.byteCount))
    }
    #expect(try bits([1, 3], [75, 40]) == bits([1, 1, 1, 1], [75, 40, 0, 0]))
  }

  @Test(arguments: [
    Named("causal, several queries") {
      $0.qoLengths = [1, 3, 2, 5, 3, 4]
      $0.mask = .causal
    },
    Named("more queries than keys") {
      $0.qoLengths = [2, 3, 16, 16, 5, 4]
      $0.mask = .causal
      $0.qoHeads = 2
    },
    Named("several queries without mask") { $0.qoLengths = [0, 2, 1, 2, 2, 7] },
    Named("window") {
      $0.mask = AttentionMask(isCausal: true, windowLeft: 20)
      $0.kvLengths = [0, 5, 20, 21, 22, 100]
    },
    Named("four tiles of rows") {
      $0.qoLengths = [16, 1, 8, 5, 3, 9]
      $0.mask = .causal
    },
    Named("four tiles of rows, FP8") {
      $0.qoLengths = [16, 1, 8, 5, 3, 9]
      $0.mask = .causal
      $0.types = AttentionTypes(q: .bf16, kv: .e4m3)
      $0.hasHeadScales = true
      $0.blocks = 9
    },
    Named("a group of 32") {
      $0.qoHeads = 64
      $0.headDim = 64
    },
    Named("window of several queries") {
      $0.mask = AttentionMask(isCausal: true, windowLeft: 9)
      $0.qoLengths = [1, 2, 3, 4, 4, 4]
      $0.kvLengths = [0, 5, 20, 21, 22, 100]
      $0.types = AttentionTypes(q: .bf16, kv: .e4m3)
    },
    Named("window of the own key") { $0.mask = AttentionMask(isCausal: true, windowLeft: 0) },
    Named("soft cap") { $0.modification.logitsSoftCap = 3 },
    Named("sinks") { $0.hasSinks = true },
    Named("sinks and partial states") {
      $0.hasSinks = true
      $0.kvLengths = [300]
      $0.kvHeads = 1
      $0.blocks = 7
    },
    Named("scales of heads") { $0.hasHeadScales = true },
    Named("scales of tensors") {
      $0.scales = AttentionScales(
        q: .tensor(0.5), k: .tensor(2), v: .tensor(0.25), o: .tensor(0.125))
    },
    Named("all at once") {
      $0.qoLengths = [1, 3, 2, 5, 3, 4]
      $0.mask = AttentionMask(isCausal: true, windowLeft: 40)
      $0.modification.logitsSoftCap = 8
      $0.hasSinks = true
      $0.hasHeadScales = true
      $0.types = AttentionTypes(q: .bf16, kv: .e4m3, o: .f32)
    },
    Named("natural lse") { $0.lseConvention = .natural },
    Named("lse of empty rows +∞") { $0.lseConvention = .flashMLA },
    Named("no lse") { $0.hasLSE = false },
  ])
  func `every modification is right on both loaders`(_ named: Named) throws {
    var value = named.value
    try expectRight(value)
    value.target = .sm80
    try expectRight(value)
  }

  @Test func `other interleavings of the warps give the same bytes`() throws {
    var value = DecodeCase()
    value.kvLengths = [90, 3]
    value.blocks = 5
    let first = try value.run()
    for seed in 1...4 {
      let other = try value.run(simulationSeed: UInt64(100 * seed))
      #expect(other.complaints == [])
      #expect(other.bytes == first.bytes)
    }
  }
}
