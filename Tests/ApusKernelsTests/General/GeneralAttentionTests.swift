import ApusCore
import ApusDSL
import ApusIR
import ApusKernels
import ApusNumerics
import Testing

@MainActor @Suite struct GeneralAttentionTests {
  @Test(arguments: GeneralTestCase.Geometry.allCases)
  func `every geometry, layout and alignment agrees with the definition`(
    _ geometry: GeneralTestCase.Geometry
  ) throws {
    for layout in KVLayout.allCases {
      try GeneralTestCase(
        geometry: geometry, layout: layout, isPadded: layout == .hnd, seed: 2
      ).check()
    }
  }

  @Test func `combined and latent operands agree with the definition`() throws {
    for layout in KVLayout.allCases {
      try GeneralTestCase(operand: .combined, layout: layout).check()
      for operand in [GeneralTestCase.Operand.latent, .packedLatent] {
        for splitsQuery in [false, true] {
          // Wide and narrow accesses by turns.
          try GeneralTestCase(
            geometry: splitsQuery ? .padded : .csr, operand: operand, splitsQuery: splitsQuery,
            layout: layout, kvHeads: splitsQuery ? 2 : 1, dimQK: layout == .nhd ? 40 : 19,
            dimVO: layout == .nhd ? 32 : 7, qoLengths: [1, 2], kvLengths: [5, 3]
          ).check()
        }
      }
    }
  }

  @Test func `masks compose`() throws {
    for isCausal in [false, true] {
      for windowLeft in [nil, 0, 2, Int.max] {
        for order in [nil, BitOrder.little, .big] {
          var c = GeneralTestCase(
            qoHeads: 2, kvHeads: 1, qoLengths: [2, 5, 1], kvLengths: [9, 3, 0],
            mask: AttentionMask(isCausal: isCausal, windowLeft: windowLeft), customOrder: order)
          c.seed = UInt64(windowLeft.map { $0 % 7 } ?? 11)
          try c.check()
        }
      }
    }
  }

  @Test func `score modifications agree with the definition`() throws {
    var c = GeneralTestCase(qoLengths: [2, 4, 1], mask: .causal)
    c.modification = ScoreModification(logitsSoftCap: 3)
    try c.check()
    c.modification = ScoreModification(alibiSlopes: ScoreModification.alibiSlopes(headCount: 4))
    try c.check()
    c.modification = ScoreModification(
      softmaxScale: -0.3, logitsSoftCap: 50,
      alibiSlopes: ScoreModification.alibiSlopes(headCount: 4))
    try c.check()
    c.hasSinks = true
    try c.check()
    c.hasLSE = false
    try c.check()
  }

  @Test(arguments: RotaryEmbedding.Pairing.allCases)
  func `rotation inside the operator agrees with the definition`(
    _ pairing: RotaryEmbedding.Pairing
  ) throws {
    for (rotaryDim, isPadded) in [(nil, false), (16, false), (6, false), (16, true)] {
      var c = GeneralTestCase(
        dimQK: 32, qoLengths: [1, 4], kvLengths: [5, 2], isPadded: isPadded)
      c.modification = ScoreModification(
        rope: RotaryEmbedding(pairing: pairing, rotaryDim: rotaryDim))
      try c.check()
    }
  }

  @Test(arguments: GeneralTestCase.Scaling.allCases)
  func `scales of every granularity agree with the definition`(
    _ scaling: GeneralTestCase.Scaling
  ) throws {
    for other in GeneralTestCase.Scaling.allCases {
      var c = GeneralTestCase(
        types: AttentionTypes(q: .bf16, kv: .e4m3, o: .f16), qoLengths: [1, 2], kvLengths: [5, 3])
      c.kScaling = scaling
      c.vScaling = other
      c.qScaling = other == .tokenHead ? .one : other
      c.oScaling = scaling == .tokenHead ? .head : scaling
      try c.check()
      var latent = GeneralTestCase(
        operand: .latent, kvHeads: 2, dimQK: 32, dimVO: 24, qoLengths: [1], kvLengths: [5])
      latent.kScaling = scaling
      latent.kpeScaling = scaling == .tokenHead || other == .tokenHead ? .one : other
      try latent.check()
    }
  }

  @Test(arguments: ElementType.allCases)
  func `operands of every type are read and written`(_ type: ElementType) throws {
    for (index, other) in ElementType.allCases.enumerated() {
      try GeneralTestCase(
        types: AttentionTypes(q: other, kv: type, o: other), qoLengths: [1, 2], kvLengths: [5, 3],
        isPadded: index % 2 == 0, seed: 7
      ).check(target: index % 4 < 2 ? .sm80 : .sm90a)
    }
  }

  @Test(arguments: [(8, 8), (24, 16), (64, 128), (128, 128), (192, 128), (256, 256), (576, 512)])
  func `every head dimension agrees with the definition`(_ qk: Int, _ vo: Int) throws {
    for (qo, kv, isPadded) in [(1, 1, false), (8, 1, qk % 64 == 0), (6, 2, true)] {
      try GeneralTestCase(
        qoHeads: qo, kvHeads: kv, dimQK: qk, dimVO: vo, qoLengths: [1], kvLengths: [9],
        isPadded: isPadded, seed: UInt64(qk)
      ).check()
    }
  }

  @Test func `splits merge to the same result`() throws {
    for splitSize in [1, 3, 8, 100] {
      for hasSinks in [false, true] {
        var c = GeneralTestCase(
          qoLengths: [1, 4, 2], kvLengths: [33, 17, 1], mask: AttentionMask(isCausal: true),
          convention: .flashMLA, splitSize: splitSize, hasSinks: hasSinks)
        c.vScaling = .head
        c.oScaling = .tensor
        let kernels = try c.check()
        #expect(kernels.count == (splitSize < 33 ? 2 : 1))
      }
    }
  }

  @Test func `partial states of odd widths are aligned`() throws {
    for dimVO in [5, 6, 7] {
      try GeneralTestCase(
        operand: .latent, qoHeads: 1, kvHeads: 1, dimQK: 17, dimVO: dimVO, qoLengths: [1],
        kvLengths: [7], splitSize: 3
      ).check()
    }
  }

  @Test func `what is not visible does not exist`() throws {
    for splitSize in [nil, 4] {
      var c = GeneralTestCase(qoLengths: [6], kvLengths: [9], splitSize: splitSize)
      c.mask = .causal
      c.poisonedKey = 7  // visible to the last two queries only
      try c.check()
      c.layout = .hnd
      c.mask = AttentionMask(isCausal: true, windowLeft: 1)
      c.poisonedKey = 4
      try c.check()
    }
  }

  /// The rows of a tile decide in what order a row's weights are added.
  @Test(arguments: [1, 4], [16, 128, 512])
  func `a batch-invariant request has the same kernel whatever its neighbours have`(
    _ group: Int, _ headDim: Int
  ) {
    let symbols = [[1], [1, 3], [1, 40]].map { queries in
      let problem = AttentionProblem(
        shape: AttentionShape(qoHeadCount: 2 * group, kvHeadCount: 2, headDimQK: headDim),
        types: AttentionTypes(q: .bf16), qoIndptr: RaggedIndptr(lengths: queries),
        geometry: .ragged(RaggedIndptr(lengths: queries.map { _ in 64 })),
        options: ExecutionOptions(isBatchInvariant: true))
      return GeneralAttention(problem, target: .sm80).kernels.first?.symbol
    }
    #expect(Set(symbols).count == 1, "\(symbols)")
  }

  @Test func `empty batches and empty requests need no keys`() throws {
    try GeneralTestCase(qoLengths: [2, 1], kvLengths: [0, 0], convention: .natural).check()
    let none = try GeneralTestCase(qoLengths: [0], kvLengths: [3]).checkWithoutRows()
    #expect(none == 0)
  }
}

extension GeneralTestCase {
  /// Launches of a batch without queries.
  @MainActor func checkWithoutRows() throws -> Int {
    let problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: 4, kvHeadCount: 2, headDimQK: 16),
      types: types, qoIndptr: RaggedIndptr(lengths: qoLengths),
      geometry: .ragged(RaggedIndptr(lengths: kvLengths)))
    let empty = TensorView(
      address: 16, byteCount: 0, scalarType: .bf16, shape: [0, 4, 16], strides: [64, 16, 1])
    let keys = TensorView(
      address: 16, byteCount: 1 << 10, scalarType: .bf16, shape: [3, 2, 16], strides: [32, 16, 1])
    return GeneralAttention(problem, target: .sm80).launches(
      for: AttentionArguments(q: .packed(empty), kv: .separate(k: keys, v: keys), o: empty)
    ).count
  }
}
