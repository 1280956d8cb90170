import ApusCore
import ApusNumerics
import Testing

@Suite struct AppendTests {
  /// Appends one token to request 0 and two to request 1 of `PageTable.sample`; skips a fourth.
  private func problem(
    layout: KVLayout = .nhd, table: PageTable = .sample, batchIndices: [Int32] = [0, 1, -1, 1],
    positions: [Int32] = [3, 3, .min, 4]
  ) -> AppendProblem {
    AppendProblem(
      kvHeadCount: 2, headDimK: 16, headDimV: 8, sourceType: .bf16, cacheType: .e4m3,
      layout: layout, table: table, batchIndices: batchIndices, positions: positions)
  }

  private let valid = AppendArguments(
    keys: .sample(.bf16, [4, 2, 16]), values: .sample(.bf16, [4, 2, 8]),
    cache: .separate(k: .sample(.e4m3, [3, 4, 2, 16]), v: .sample(.e4m3, [3, 4, 2, 8])))

  private func refused(
    _ problem: AppendProblem, _ change: (inout AppendArguments) -> Void = { _ in }
  ) -> String {
    var arguments = valid
    change(&arguments)
    return refusal { try problem.resolve(arguments, memory: .host, operation: "append") }
  }

  @Test func `targets follow pages and slots`() throws {
    let problem = problem()
    let destinations = try problem.resolve(valid, memory: .host, operation: "append")
    #expect(destinations.keys.shape == [3, 4, 2, 16])
    #expect(destinations.values?.shape == [3, 4, 2, 8])
    let targets = (0..<problem.tokenCount).map { t in
      problem.target(t).map { [$0.page, $0.slot] }
    }
    #expect(targets == [[2, 3], [0, 3], nil, [2, 0]])
  }

  @Test func `combined caches split along their second dimension`() throws {
    var problem = problem(layout: .hnd)
    problem.headDimV = 16
    let kv = TensorView.sample(.e4m3, [3, 2, 2, 4, 16])
    var arguments = valid
    arguments.values = .sample(.bf16, [4, 2, 16])
    arguments.cache = .combined(kv)
    let destinations = try problem.resolve(arguments, memory: .host, operation: "append")
    #expect(destinations.keys == kv.selecting(0, axis: 1))
    #expect(destinations.values == kv.selecting(1, axis: 1))
    problem.headDimV = 8
    #expect(
      refused(problem) { $0.cache = .combined(kv) }
        == "append: a combined cache must have equal widths of k and v; found 16 and 8.")
    problem.headDimV = 16
    #expect(
      refused(problem) {
        $0.values = arguments.values
        $0.cache = .combined(.sample(.e4m3, [2, 2, 2, 4, 16]))
      }
        == "append: page indices must be below the page count of kv cache; "
        + "found index 2 of 2 pages.")
  }

  private func latentProblem(kpe: Int = 8) -> AppendProblem {
    AppendProblem(
      latent: LatentShape(ckv: 16, kpe: kpe), sourceType: .bf16, cacheType: .e4m3,
      table: .sample, batchIndices: [0, 1], positions: [3, 3])
  }

  @Test func `latent caches take two tensors or one`() throws {
    let rows = AppendArguments(
      keys: .sample(.bf16, [2, 16]), values: .sample(.bf16, [2, 1, 8]),
      cache: .latent(ckv: .sample(.e4m3, [3, 4, 16]), kpe: .sample(.e4m3, [3, 4, 8])))
    let two = try latentProblem().resolve(rows, memory: .host, operation: "append")
    #expect(two.keys.shape == [3, 4, 1, 16])
    #expect(two.values?.shape == [3, 4, 1, 8])
    var packed = rows
    packed.cache = .packedLatent(.sample(.e4m3, [3, 4, 24]))
    let one = try latentProblem().resolve(packed, memory: .host, operation: "append")
    #expect(one.keys.shape == [3, 4, 1, 16])
    #expect(one.keys.strides == [96, 24, 0, 1])
    #expect(one.values?.shape == [3, 4, 1, 8])
    #expect(one.values?.address == one.keys.address + 16)
    #expect(one.values?.staysInside == true)
    packed.values = .sample(.bf16, [2, 0])
    packed.cache = .packedLatent(.sample(.e4m3, [3, 4, 16]))
    let none = try latentProblem(kpe: 0).resolve(packed, memory: .host, operation: "append")
    #expect(none.values == nil)
  }

  @Test func `each rule of the lists has its message`() {
    #expect(
      refused(problem(positions: [3, 3, 0]))
        == "append: positions must hold one value per token; found 3 for 4 tokens.")
    for bad in [Int32.min, -2, 2, .max] {
      #expect(
        refused(problem(batchIndices: [0, bad, -1, 1]))
          == "append: batchIndices must be -1 or in 0..<2 (batch); found \(bad) at token 1.")
    }
    for bad in [Int32.min, -1, 5, .max] {
      #expect(
        refused(problem(positions: [3, 3, 0, bad]))
          == "append: positions must be within the request's length after the append; "
          + "found \(bad) of 5 at token 3.")
    }
    // Page 2 holds request 0's only page and request 1's second.
    #expect(
      refused(problem(positions: [0, 3, 0, 4]))
        == "append: each cache slot must be written at most once; "
        + "found page 2, slot 0 again at token 3.")
  }

  @Test func `each rule of the tensors has its message`() {
    #expect(refused(problem()) == "accepted")
    func pages(k: Int, v: Int) -> String {
      refused(problem()) {
        $0.cache = .separate(k: .sample(.e4m3, [k, 4, 2, 16]), v: .sample(.e4m3, [v, 4, 2, 8]))
      }
    }
    #expect(
      pages(k: 2, v: 3)
        == "append: page indices must be below the page count of k cache; "
        + "found index 2 of 2 pages.")
    #expect(
      pages(k: 3, v: 2)
        == "append: page indices must be below the page count of v cache; "
        + "found index 2 of 2 pages.")
    #expect(
      refused(problem()) { $0.cache = .packedLatent(.sample(.e4m3, [3, 4, 24])) }
        == "append: the cache must be separate or combined; found another kind.")
    #expect(
      refused(latentProblem()) {
        $0.keys = .sample(.bf16, [2, 16])
        $0.values = .sample(.bf16, [2, 8])
      } == "append: the cache must be latent; found another kind.")
    #expect(
      refused(problem()) { $0.keys = .sample(.f16, [3, 2, 16]) } == """
        append: 2 requirements do not hold:
          - keys must have type bf16; found f16.
          - keys must have shape [4, 2, 16]; found [3, 2, 16].
        """)
    #expect(
      refused(problem()) { $0.kScale = .tensor(.infinity) }
        == "append: kScale must be finite and positive; found inf.")
    #expect(
      refused(problem()) { $0.vScale = .head(.sample(.f32, [3])) }
        == "append: vScale must have shape [2]; found [3].")
    #expect(
      refused(problem()) { $0.vScale = .dynamicTokenHead(.sample(.f32, [2, 4, 2])) }
        == "append: page indices must be below the page count of vScale; "
        + "found index 2 of 2 pages.")
  }

  @Test func `token-head scales of a latent cover the whole row`() {
    func refused(kScale: AppendScale, vScale: AppendScale) -> String {
      self.refused(latentProblem()) {
        $0.keys = .sample(.bf16, [2, 16])
        $0.values = .sample(.bf16, [2, 8])
        $0.cache = .packedLatent(.sample(.e4m3, [3, 4, 24]))
        $0.kScale = kScale
        $0.vScale = vScale
      }
    }
    let rows = AppendScale.dynamicTokenHead(.sample(.f32, [3, 4, 1]))
    #expect(refused(kScale: rows, vScale: .one) == "accepted")
    #expect(refused(kScale: .tensor(2), vScale: .head(.sample(.f32, [1]))) == "accepted")
    #expect(
      refused(kScale: rows, vScale: .tensor(2))
        == "append: vScale must be one beside a token-head kScale; found tensor(2.0).")
    #expect(
      refused(kScale: .one, vScale: rows)
        == "append: vScale of a latent must be one, per tensor or per head; found token-head. "
        + "A token-head kScale covers the whole latent row.")
  }

  @Test func `hostile widths and tables are named, not followed`() {
    var hostile = latentProblem()
    hostile.kvHeadCount = .max
    hostile.headDimK = .max
    hostile.headDimV = .max
    hostile.table = PageTable(pageSize: 0, blocks: [], pagesPerRequest: 1, lengths: [.max])
    let text = refused(hostile) {
      $0.cache = .packedLatent(.sample(.e4m3, [3, 4, 24]))
      $0.kScale = .dynamicTokenHead(.sample(.f32, [3, 4, 1]))
    }
    #expect(
      text == """
        append: 6 requirements do not hold:
          - kvHeadCount must be in 1…65536; found 9223372036854775807.
          - row widths must be in 1…576 (kpe: 0…576); found 9223372036854775807 and 9223372036854775807.
          - pageSize must be at least 1; found 0.
          - keys must have shape [2, 9223372036854775807, 9223372036854775807]; found [4, 2, 16].
          - values must have shape [2, 9223372036854775807, 9223372036854775807]; found [4, 2, 8].
          - kScale must have shape [any, 0, 9223372036854775807]; found [3, 4, 1].
        """)
    // A negative first width whose sum with the second is that of the tensor.
    hostile = latentProblem()
    hostile.headDimK = -1
    hostile.headDimV = 25
    #expect(
      refused(hostile) { $0.cache = .packedLatent(.sample(.e4m3, [3, 4, 24])) }
        .contains("row widths must be in 1…576 (kpe: 0…576); found -1 and 25."))
    var plain = problem()
    plain.headDimV = 0
    #expect(refused(plain).contains("row widths must be in 1…576; found 16 and 0."))
  }

  @Test func `every tensor must live where the back end writes`() {
    var arguments = valid
    arguments.kScale = .head(.sample(.f32, [2]))
    arguments.vScale = .dynamicTokenHead(.sample(.f32, [3, 4, 2]))
    let text = refusal {
      try problem().resolve(arguments, memory: .cuda(device: 1), operation: "append")
    }
    #expect(
      text == """
        append: 6 requirements do not hold:
          - kScale must live in cuda:1 memory; found host.
          - vScale must live in cuda:1 memory; found host.
          - keys must live in cuda:1 memory; found host.
          - values must live in cuda:1 memory; found host.
          - k cache must live in cuda:1 memory; found host.
          - v cache must live in cuda:1 memory; found host.
        """)
  }

  @Test func `indices and positions place rows at the end of each request`() throws {
    let (indices, positions) = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr([0, 2, 2, 5]), lengths: [9, 4, 3])
    #expect(indices == [0, 0, 2, 2, 2])
    #expect(positions == [7, 8, 0, 1, 2])
    let offset = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr([3, 4]), lengths: [Int(Int32.max)])
    #expect(offset.positions == [Int32.max - 1])
  }

  @Test func `indices and positions refuse lists that do not match`() {
    func refused(_ offsets: [Int], _ lengths: [Int]) -> String {
      refusal {
        try AppendProblem.indicesAndPositions(
          appendIndptr: RaggedIndptr(offsets), lengths: lengths)
      }
    }
    #expect(
      refused([0, 2], [2, 2])
        == "AppendProblem.indicesAndPositions: lengths must hold one value per request; "
        + "found 2 for batch 1.")
    #expect(
      refused([0, 2, 4], [1, .max]) == """
        AppendProblem.indicesAndPositions: 2 requirements do not hold:
          - lengths after the append must hold the appended rows and fit 31 bits; found 1 for 2 rows at request 0.
          - lengths after the append must hold the appended rows and fit 31 bits; found 9223372036854775807 for 2 rows at request 1.
        """)
    #expect(
      refused([2, 0], [])
        == "AppendProblem.indicesAndPositions: appendIndptr must not decrease; "
        + "found 2 then 0 at index 1.")
  }
}
