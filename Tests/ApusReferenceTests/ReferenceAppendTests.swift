import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport
import Testing

@Suite struct ReferenceAppendTests {
  /// One request of two pages, 2 before 0, of 2 tokens each; 3 tokens long after the append.
  private static let table = PageTable(
    pageSize: 2, indptr: RaggedIndptr([0, 2]), indices: [2, 0], lastPageLength: [1])

  private func problem(
    source: ElementType, cache: ElementType, layout: KVLayout = .nhd, heads: Int = 1, dim: Int = 2,
    indices: [Int32] = [0], positions: [Int32] = [2]
  ) -> AppendProblem {
    AppendProblem(
      kvHeadCount: heads, headDimK: dim, sourceType: source, cacheType: cache, layout: layout,
      table: Self.table, batchIndices: indices, positions: positions)
  }

  /// Codes that an f32 row leaves in an e4m3 cache of one token.
  private func stored(
    _ row: [Float], scale: AppendScale = .one, in pool: TensorPool
  ) throws -> [Double] {
    let cache = pool.tensor(.e4m3, [3, 2, 1, row.count])
    try Reference.append(
      problem(source: .f32, cache: .e4m3, dim: row.count),
      AppendArguments(
        keys: pool.tensor(.f32, [1, 1, row.count], row),
        values: pool.tensor(.f32, [1, 1, row.count], row),
        cache: .separate(k: cache, v: pool.tensor(.e4m3, [3, 2, 1, row.count])), kScale: scale))
    return HostTensor(cache).row([0, 0, 0]).map(Double.init)
  }

  @Test func `tokens go to slot and page of their position and nothing else is written`() throws {
    try withPool { pool in
      for layout in KVLayout.allCases {
        let problem = problem(
          source: .f32, cache: .bf16, layout: layout, heads: 2, indices: [0, -1, 0],
          positions: [2, 0, 1])
        // Pages, slots, heads and elements: two of each but pages.
        let k = pool.tensor(.bf16, [3, 2, 2, 2])
        let v = pool.tensor(.bf16, [3, 2, 2, 2])
        let arguments = AppendArguments(
          keys: pool.tensor(.f32, [3, 2, 2], (0..<12).map(Float.init)),
          values: pool.tensor(.f32, [3, 2, 2], (0..<12).map { Float(100 + $0) }),
          cache: .separate(k: k, v: v))
        try Reference.append(problem, arguments)
        // Token 0 at position 2: page 0, slot 0. Token 2 at position 1: page 2, slot 1.
        func index(_ page: Int, _ slot: Int, _ head: Int) -> [Int] {
          layout == .nhd ? [page, slot, head] : [page, head, slot]
        }
        #expect(HostTensor(k).row(index(0, 0, 0)) == [0, 1])
        #expect(HostTensor(k).row(index(0, 0, 1)) == [2, 3])
        #expect(HostTensor(k).row(index(2, 1, 0)) == [8, 9])
        #expect(HostTensor(k).row(index(2, 1, 1)) == [10, 11])
        #expect(HostTensor(v).row(index(2, 1, 1)) == [110, 111])
        #expect(HostTensor(k).values.filter { $0.isNaN }.count == 24 - 8)
        #expect(HostTensor(v).values.filter { $0.isNaN }.count == 24 - 8)
      }
    }
  }

  @Test func `a combined cache holds k before v`() throws {
    try withPool { pool in
      let cache = pool.tensor(.f32, [3, 2, 2, 1, 2])
      try Reference.append(
        problem(source: .f16, cache: .f32),
        AppendArguments(
          keys: pool.tensor(.f16, [1, 2], [1, 2]), values: pool.tensor(.f16, [1, 2], [3, 4]),
          cache: .combined(cache)))
      #expect(HostTensor(cache).row([0, 0, 0, 0]) == [1, 2])
      #expect(HostTensor(cache).row([0, 1, 0, 0]) == [3, 4])
      #expect(HostTensor(cache).values.filter { $0.isNaN }.count == 24 - 4)
    }
  }

  @Test func `values round to nearest even and saturate`() throws {
    try withPool { pool throws in
      let row: [Float] = [1.0625, 1.1875, 464, 1000, -1e30, .infinity, -.infinity, 0x1p-10]
      // Ties of e4m3's spacing ⅛ at 1; half its smallest value 2⁻⁹ ties to 0.
      #expect(try stored(row, in: pool) == [1, 1.25, 448, 448, -448, 448, -448, 0])
      let nan = try stored([.nan, 1], in: pool)
      #expect(nan[0].isNaN)
      #expect(nan[1] == 1)
    }
  }

  @Test func `what is stored is divided by the scale in f32 first`() throws {
    try withPool { pool throws in
      #expect(try stored([1, -6], scale: .tensor(4), in: pool) == [0.25, -1.5])
      let scales = pool.tensor(.f32, [1], [0.5])
      #expect(try stored([1, -6], scale: .head(scales), in: pool) == [2, -12])
      // x / s lies just above the tie 17/16 and is that tie in f32, which rounds to the even 1. One
      // rounding of the exact quotient, or x times the reciprocal in f32, would give 9/8.
      let (x, s): (Float, Float) = (0x1.efb852p+0, 0x1.d28f5cp+0)
      #expect(Float8E4M3(Double(x) / Double(s)).float == 1.125)
      #expect(Float8E4M3(x * (1 / s)).float == 1.125)
      #expect(try stored([x, 0], scale: .tensor(s), in: pool) == [1, 0])
    }
  }

  @Test func `equal types without a scale copy bits and a scale of 1 saturates`() throws {
    try withPool { pool in
      for (scale, kept) in [(AppendScale.one, Double.infinity), (.tensor(1), 57344)] {
        let cache = pool.tensor(.e5m2, [3, 2, 1, 2])
        let source = pool.tensor(.e5m2, [1, 1, 2], [.infinity, 3])
        // A NaN with a payload of its own.
        source.mutableHostPointer?.storeBytes(of: 0xFE, toByteOffset: 1, as: UInt8.self)
        try Reference.append(
          problem(source: .e5m2, cache: .e5m2),
          AppendArguments(
            keys: source, values: source,
            cache: .separate(k: cache, v: pool.tensor(.e5m2, [3, 2, 1, 2])), kScale: scale))
        #expect(HostTensor(cache).value([0, 0, 0, 0]) == kept)
        #expect(HostTensor(cache).value([0, 0, 0, 1]).isNaN)
        let code = cache.hostPointer?.load(fromByteOffset: 1, as: UInt8.self)
        if scale == .one { #expect(code == 0xFE) }
      }
    }
  }

  @Test func `a dynamic scale maps the greatest magnitude to the greatest value`() throws {
    try withPool { pool in
      let scales = pool.tensor(.f32, [3, 2, 1])
      func scale(_ row: [Float]) throws -> (stored: [Double], scale: Double) {
        let stored = try stored(row, scale: .dynamicTokenHead(scales), in: pool)
        return (stored, HostTensor(scales).value([0, 0, 0]))
      }
      #expect(try scale([-896, 2, 448]) == ([-448, 1, 224], 2))
      #expect(try scale([0, -0.0, 0]) == ([0, 0, 0], 1))
      // 2⁻¹²⁰/448 is not a normal f32.
      #expect(try scale([0x1p-120, 0, 0]) == ([0, 0, 0], 1))
      #expect(try scale([.infinity, 448, -.infinity]) == ([448, 448, -448], 1))
      let nan = try scale([.nan, 896, 2])
      #expect(nan.stored[0].isNaN)
      #expect(Array(nan.stored[1...]) == [448, 1])
      #expect(nan.scale == 2)
      #expect(HostTensor(scales).values.filter { $0.isNaN }.count == 5)
    }
  }

  @Test func `k and v and each head have dynamic scales of their own`() throws {
    try withPool { pool in
      for layout in KVLayout.allCases {
        let problem = problem(source: .f32, cache: .e4m3, layout: layout, heads: 2)
        let shape = [3, 2, 2]
        let kScales = pool.tensor(.f32, shape)
        let vScales = pool.tensor(.f32, shape)
        try Reference.append(
          problem,
          AppendArguments(
            keys: pool.tensor(.f32, [1, 2, 2], [448, 0, 896, 0]),
            values: pool.tensor(.f32, [1, 2, 2], [0, 1792, 0, 3584]),
            cache: .separate(
              k: pool.tensor(.e4m3, shape + [2]), v: pool.tensor(.e4m3, shape + [2])),
            kScale: .dynamicTokenHead(kScales), vScale: .dynamicTokenHead(vScales)))
        let second = layout == .nhd ? [0, 0, 1] : [0, 1, 0]
        #expect(HostTensor(kScales).value([0, 0, 0]) == 1)
        #expect(HostTensor(kScales).value(second) == 2)
        #expect(HostTensor(vScales).value([0, 0, 0]) == 4)
        #expect(HostTensor(vScales).value(second) == 8)
      }
    }
  }

  @Test func `a latent row goes to ckv and kpe with one scale`() throws {
    try withPool { pool in
      let problem = AppendProblem(
        latent: LatentShape(ckv: 3, kpe: 2), sourceType: .f32, cacheType: .e4m3,
        table: Self.table, batchIndices: [0], positions: [2])
      let ckv = pool.tensor(.e4m3, [3, 2, 3])
      let kpe = pool.tensor(.e4m3, [3, 2, 2])
      let packed = pool.tensor(.e4m3, [3, 2, 1, 5])
      let scales = pool.tensor(.f32, [3, 2, 1])
      let keys = pool.tensor(.f32, [1, 3], [2, 4, 8])
      let values = pool.tensor(.f32, [1, 1, 2], [-896, 0])
      func append(_ cache: KVOperand, _ k: AppendScale, _ v: AppendScale = .one) throws {
        try Reference.append(
          problem,
          AppendArguments(keys: keys, values: values, cache: cache, kScale: k, vScale: v))
      }
      // amax is in kpe.
      try append(.latent(ckv: ckv, kpe: kpe), .dynamicTokenHead(scales))
      #expect(HostTensor(scales).value([0, 0, 0]) == 2)
      #expect(HostTensor(ckv).row([0, 0]) == [1, 2, 4])
      #expect(HostTensor(kpe).row([0, 0]) == [-448, 0])
      try append(.packedLatent(packed), .tensor(4))
      #expect(HostTensor(packed).row([0, 0, 0]) == [0.5, 1, 2, -224, 0])
      try append(.packedLatent(packed), .tensor(4), .tensor(8))
      #expect(HostTensor(packed).row([0, 0, 0]) == [0.5, 1, 2, -112, 0])
      #expect(HostTensor(packed).values.filter { $0.isNaN }.count == 30 - 5)
    }
  }

  @Test func `an append that does not fit is refused and writes nothing`() {
    withPool { pool in
      let cache = pool.tensor(.f32, [3, 2, 1, 2])
      let rows = pool.tensor(.f32, [1, 1, 2], [1, 2])
      let error = #expect(throws: ArgumentError.self) {
        try Reference.append(
          problem(source: .f32, cache: .f32, positions: [3]),
          AppendArguments(keys: rows, values: rows, cache: .separate(k: cache, v: cache)))
      }
      #expect(error?.operation == "Reference.append")
      #expect(HostTensor(cache).values.allSatisfy { $0.isNaN })
    }
  }

  @Test func `what was appended is what attention reads`() throws {
    try withPool { pool in
      let attention = AttentionCase.random(
        seed: 71, qoLengths: [1, 2], kvLengths: [4, 5], qoHeads: 2, kvHeads: 2)
      let expected = try attention.attend()
      var (problem, arguments) = attention.place(.pages, layout: .hnd, in: pool)
      guard case .paged(let table) = problem.geometry else { return }
      let (indices, positions) = try AppendProblem.indicesAndPositions(
        appendIndptr: RaggedIndptr([0, 4, 9]), lengths: [4, 5])
      let cache = KVOperand.combined(
        pool.tensor(.f32, [table.greatestPage + 1, 2, 2, 3, 8]))
      try Reference.append(
        AppendProblem(
          kvHeadCount: 2, headDimK: 8, sourceType: .f32, cacheType: .f32, layout: .hnd,
          table: table, batchIndices: indices, positions: positions),
        AppendArguments(
          keys: pool.tensor(
            .f32, [9, 2, 8], attention.k.flatMap { $0.flatMap { $0.flatMap { $0 } } }),
          values: pool.tensor(
            .f32, [9, 2, 8], attention.v.flatMap { $0.flatMap { $0.flatMap { $0 } } }),
          cache: cache))
      arguments.kv = cache
      problem.types.kv = .f32
      #expect(try Reference.attention(problem, arguments) == expected)
    }
  }
}
