import Apus
import ApusCPU
import ApusTestSupport
import Testing

@Suite struct OperatorTests {
  let backend: CPUBackend

  init() throws { backend = try CPUBackend(threadCount: 2) }

  func random(_ shape: [Int], _ type: ElementType = .f32, seed: UInt64) throws -> Tensor {
    var generator = SplitMix64(seed: seed)
    let count = shape.reduce(1, *)
    return try Tensor(
      (0..<count).map { _ in Float.random(in: -2...2, using: &generator) }, type, shape: shape)
  }

  @Test func `uniform keys give the mean of the values and lse the logarithm of their number`()
    throws
  {
    let shape = AttentionShape(qoHeadCount: 2, kvHeadCount: 1, headDimQK: 8)
    let operation = try SingleDecode.plan(
      shape: shape, types: AttentionTypes(q: .f32), kvLength: 4, on: backend)
    let q = try Tensor(zeros: .f32, shape: [1, 2, 8])
    let k = try random([4, 1, 8], seed: 1)
    let v = try Tensor((0..<32).map { Float($0 / 8) }, shape: [4, 1, 8])
    let o = try Tensor(zeros: .f32, shape: [1, 2, 8])
    let lse = try Tensor(zeros: .f32, shape: [1, 2])
    try operation.run(q: q.view, k: k.view, v: v.view, o: o.view, lse: lse.view)
    #expect(o.values == [Float](repeating: 1.5, count: 16))
    #expect(lse.values == [2, 2])
  }

  @Test func `padded, paged, ragged and single decode agree bit for bit`() throws {
    let (length, heads, dim) = (37, 3, 16)
    let shape = AttentionShape(qoHeadCount: 6, kvHeadCount: heads, headDimQK: dim)
    let types = AttentionTypes(q: .f32, kv: .bf16)
    let q = try random([1, 6, dim], seed: 2)
    let k = try random([length, heads, dim], .bf16, seed: 3)
    let v = try random([length, heads, dim], .bf16, seed: 4)
    func output(_ operation: PlannedAttention, _ k: TensorView, _ v: TensorView) throws -> [Float] {
      let o = try Tensor(zeros: .f32, shape: [1, 6, dim])
      try operation.run(q: q.view, k: k, v: v, o: o.view)
      return o.values
    }
    let single = try output(
      SingleDecode.plan(shape: shape, types: types, kvLength: length, on: backend), k.view, v.view)
    let paddedK = try Tensor(
      k.values + [Float](repeating: .nan, count: 3 * heads * dim), .bf16,
      shape: [1, 40, heads, dim])
    let paddedV = try Tensor(
      v.values + [Float](repeating: .nan, count: 3 * heads * dim), .bf16,
      shape: [1, 40, heads, dim])
    let padded = try output(
      BatchDecode.planPadded(
        shape: shape, types: types, batch: 1, maxLength: 40, lengths: [length], on: backend),
      paddedK.view, paddedV.view)
    let pages = PageTable(
      pageSize: 8, indptr: RaggedIndptr([0, 5]), indices: [0, 1, 2, 3, 4], lastPageLength: [5])
    func paged(_ tensor: Tensor) -> TensorView {
      TensorView(
        address: tensor.view.address, byteCount: tensor.byteCount, scalarType: .bf16,
        shape: [5, 8, heads, dim], strides: TensorView.denseStrides([5, 8, heads, dim]))
    }
    let pagedOutput = try output(
      BatchDecode.plan(shape: shape, types: types, pages: pages, on: backend), paged(paddedK),
      paged(paddedV))
    let prefill = try output(
      SinglePrefill.plan(
        shape: shape, types: types, qoLength: 1, kvLength: length, on: backend), k.view, v.view)
    #expect(padded == single)
    #expect(pagedOutput == single)
    #expect(prefill == single)
  }

  @Test func `results do not depend on the thread count`() throws {
    let shape = AttentionShape(qoHeadCount: 8, kvHeadCount: 2, headDimQK: 64)
    let (qo, kv) = (70, 2500)
    let q = try random([qo, 8, 64], seed: 5)
    let k = try random([kv, 2, 64], .f16, seed: 6)
    let v = try random([kv, 2, 64], .f16, seed: 7)
    var outputs: [[Float]] = []
    for threads in [1, 2, 5] {
      let operation = try SinglePrefill.plan(
        shape: shape, types: AttentionTypes(q: .f32, kv: .f16), qoLength: qo, kvLength: kv,
        options: ExecutionOptions(splitSize: 600), on: CPUBackend(threadCount: threads))
      let o = try Tensor(zeros: .f32, shape: [qo, 8, 64])
      try operation.run(q: q.view, k: k.view, v: v.view, o: o.view)
      outputs.append(o.values)
    }
    #expect(outputs[1] == outputs[0])
    #expect(outputs[2] == outputs[0])
  }

  @Test func `every violation of a plan is named at once`() {
    let error = #expect(throws: ApusError.self) {
      _ = try BatchDecode.planPadded(
        shape: AttentionShape(qoHeadCount: 32, kvHeadCount: 3, headDimQK: 100),
        types: AttentionTypes(q: .f16), batch: 2, maxLength: 16, lengths: [17, 3],
        modification: ScoreModification(softmaxScale: .infinity), on: backend)
    }
    #expect(
      error?.description == """
        BatchDecode.plan: 5 requirements do not hold:
          - qoHeadCount must be a multiple of kvHeadCount; found 32 and 3.
          - headDimQK must be a multiple of 8 in 8…576; found 100.
          - headDimVO must be a multiple of 8 in 8…512; found 100.
          - kv lengths must be in 0…16 (maxLength); found 17 at request 0.
          - softmaxScale must be finite; found inf.
        """)
  }

  @Test func `a workspace is checked and gives the same bits`() throws {
    let shape = AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8)
    let operation = try SingleDecode.plan(
      shape: shape, types: AttentionTypes(q: .f32), kvLength: 100,
      options: ExecutionOptions(splitSize: 30), on: backend)
    #expect(operation.workspaceByteCount == 4 * (8 + 2) * 4)
    let q = try random([1, 1, 8], seed: 8)
    let k = try random([100, 1, 8], seed: 9)
    let v = try random([100, 1, 8], seed: 10)
    let own = try Tensor(zeros: .f32, shape: [1, 1, 8])
    let given = try Tensor(zeros: .f32, shape: [1, 1, 8])
    func arguments(_ o: Tensor) -> AttentionArguments {
      AttentionArguments(q: .packed(q.view), kv: .separate(k: k.view, v: v.view), o: o.view)
    }
    try operation.run(arguments(own))
    let workspace = try Tensor(zeroScalars: .u8, shape: [operation.workspaceByteCount])
    try operation.run(arguments(given), workspace: workspace.view)
    #expect(own.values == given.values)
    let small = try Tensor(zeroScalars: .u8, shape: [operation.workspaceByteCount - 1])
    let error = #expect(throws: ApusError.self) {
      try operation.run(arguments(given), workspace: small.view)
    }
    #expect(
      error?.description == "SingleDecode.run: workspace must hold 160 bytes; found 159.")
  }

  @Test func `a workspace that is not to be had is an error and no crash`() throws {
    let keys = 1 << 20
    let options = ExecutionOptions(splitSize: 1)
    let shape = AttentionShape(qoHeadCount: 8, kvHeadCount: 8, headDimQK: 8, headDimVO: 512)
    let problem = AttentionProblem(
      shape: shape, types: AttentionTypes(q: .e4m3), qoIndptr: RaggedIndptr([0, 64]),
      geometry: .ragged(RaggedIndptr([0, keys])), options: options)
    // One token's bytes stand for all: strides of 0 cost no memory.
    let q = try Tensor(zeros: .e4m3, shape: [8, 8])
    let v = try Tensor(zeros: .e4m3, shape: [8, 512])
    func repeated(_ tensor: Tensor, _ rows: Int) -> TensorView {
      TensorView(
        address: tensor.view.address, byteCount: tensor.byteCount, scalarType: .e4m3,
        shape: [rows] + tensor.shape, strides: [0] + tensor.view.strides)
    }
    let o = try Tensor(zeros: .e4m3, shape: [64, 8, 512])
    let plan = try backend.plan(problem, operation: "Large.plan")
    // Beyond the memory of any machine that runs this, and within the limit of the work list.
    #expect(plan.workspaceByteCount == 8 * keys * 64 * 514 * 4)
    let arguments = AttentionArguments(
      q: .packed(repeated(q, 64)),
      kv: .separate(k: repeated(q, keys), v: repeated(v, keys)), o: o.view)
    let error = #expect(throws: ApusError.self) {
      try backend.run(
        plan, arguments, workspace: nil, on: .synchronous, operation: "Large.run")
    }
    guard case .environment(let failure) = error else {
      Issue.record("found \(String(describing: error))")
      return
    }
    #expect(failure.operation == "Large.run")
  }

  @Test func `hostile empty tensors neither hang nor crash`() throws {
    func view(_ shape: [Int], _ strides: [Int]? = nil) -> TensorView {
      TensorView(
        address: 64, byteCount: 0, scalarType: .f32, shape: shape,
        strides: strides ?? TensorView.denseStrides(shape))
    }
    let (v, s) = (view([1 << 40, 0, 8]), view([1 << 40, 0]))
    try MergeStates.run(
      MergeArguments(.two(aV: v, aS: s, bV: v, bS: s, v: v, s: s)), on: backend)
    try MergeStates.run(
      MergeArguments(
        .many(
          states: view([0, 1 << 40, 1, 8]), logits: view([0, 1 << 40, 1]), v: view([0, 1, 8]),
          s: view([0, 1]))), on: backend)
    let heads = view([0, .max, 8], [0, 0, 1])
    let error = #expect(throws: ApusError.self) {
      try Rotary.run(
        RotaryArguments(
          q: heads, k: heads, qOut: heads, kOut: heads, positions: [],
          source: .frequencies(RotaryEmbedding())), on: backend)
    }
    #expect("\(error.map(String.init(describing:)) ?? "")".contains("q must have a size that fits"))
  }

  @Test func `a device stream is refused by the CPU`() throws {
    let q = try Tensor(zeros: .f32, shape: [1, 1, 8])
    let error = #expect(throws: ApusError.self) {
      try Rotary.run(
        RotaryArguments(
          q: q.view, k: q.view, qOut: q.view, kOut: q.view, positions: [0],
          source: .frequencies(RotaryEmbedding())),
        on: backend, stream: .device(handle: 7))
    }
    #expect(
      error?.description
        == "Rotary.run: the stream of back end cpu must be synchronous; found device(handle: 7).")
  }

  @Test func `a foreign plan is refused`() throws {
    struct ForeignPlan: AttentionPlan {
      let problem: AttentionProblem
      let backendName = "elsewhere"
      let workspaceByteCount = 0
      let description = "foreign"
    }
    let problem = AttentionProblem(
      shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
      types: AttentionTypes(q: .f32), qoIndptr: RaggedIndptr([0, 0]),
      geometry: .ragged(RaggedIndptr([0, 0])))
    let empty = try Tensor(zeros: .f32, shape: [0, 1, 8])
    let error = #expect(throws: ApusError.self) {
      try backend.run(
        ForeignPlan(problem: problem),
        AttentionArguments(
          q: .packed(empty.view), kv: .separate(k: empty.view, v: empty.view), o: empty.view),
        workspace: nil, on: .synchronous, operation: "BatchPrefill.run")
    }
    #expect(
      error?.description
        == "BatchPrefill.run: the plan must come from back end cpu; found elsewhere.")
  }

  @Test func `a tolerance that f32 arithmetic cannot keep is unsupported`() {
    let error = #expect(throws: ApusError.self) {
      _ = try SingleDecode.plan(
        shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
        types: AttentionTypes(q: .f32), kvLength: 1,
        options: ExecutionOptions(precision: .automatic(tolerance: 1e-9)), on: backend)
    }
    #expect(
      error?.description
        == "SingleDecode.plan: back end cpu must support the request; found tolerance 1e-09. "
        + "Supported: tolerances of at least 1.52587890625e-05.")
  }

  @Test func `a NaN value under weight zero survives a split`() throws {
    let shape = AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8)
    // Keys 0 to 3 have score −∞, and the value of key 1 is NaN: 0 · NaN is NaN.
    let q = try Tensor([Float](repeating: 1, count: 8), shape: [1, 1, 8])
    let k = try Tensor(
      (0..<64).map { $0 < 32 ? -Float.infinity : 0 }, shape: [8, 1, 8])
    let v = try Tensor((0..<64).map { $0 / 8 == 1 ? Float.nan : 1 }, shape: [8, 1, 8])
    for splitSize in [4, 100] {
      let operation = try SingleDecode.plan(
        shape: shape, types: AttentionTypes(q: .f32), kvLength: 8,
        options: ExecutionOptions(splitSize: splitSize), on: backend)
      let o = try Tensor(zeros: .f32, shape: [1, 1, 8])
      try operation.run(q: q.view, k: k.view, v: v.view, o: o.view)
      #expect(o.values.allSatisfy { $0.isNaN }, "split \(splitSize)")
    }
  }

  @Test func `a state of infinite weight has no mean`() throws {
    let v = try Tensor([1, 2], shape: [1, 1, 2])
    let s = try Tensor([.infinity], shape: [1, 1])
    let (outV, outS) = (
      try Tensor(zeros: .f32, shape: [1, 1, 2]), try Tensor(zeros: .f32, shape: [1, 1])
    )
    let states = MergeArguments.States.two(
      aV: v.view, aS: s.view, bV: v.view, bS: s.view, v: outV.view, s: outS.view)
    try MergeStates.run(MergeArguments(states), on: backend)
    #expect(outV.values.allSatisfy { $0.isNaN })
  }

  @Test func `negative lengths are refused under the caller's names`() {
    let error = #expect(throws: ApusError.self) {
      _ = try SinglePrefill.plan(
        shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
        types: AttentionTypes(q: .f32), qoLength: -3, kvLength: -1, on: backend)
    }
    #expect(
      error?.description == """
        SinglePrefill.plan: 2 requirements do not hold:
          - qoLength must be in 0…2147483647; found -3.
          - kvLength must be in 0…2147483647; found -1.
        """)
  }

  @Test func `an absurd batch is refused before it is expanded`() {
    #expect(throws: ApusError.self) {
      _ = try BatchDecode.planPadded(
        shape: AttentionShape(qoHeadCount: 1, kvHeadCount: 1, headDimQK: 8),
        types: AttentionTypes(q: .f32), batch: .max, maxLength: 1, on: backend)
    }
  }

  @Test func `per-head scales must be finite and positive before anything is written`() throws {
    let shape = AttentionShape(qoHeadCount: 2, kvHeadCount: 2, headDimQK: 8)
    let operation = try SingleDecode.plan(
      shape: shape, types: AttentionTypes(q: .f32), kvLength: 3, on: backend)
    let q = try random([1, 2, 8], seed: 11)
    let k = try random([3, 2, 8], seed: 12)
    let v = try random([3, 2, 8], seed: 13)
    let o = try Tensor([Float](repeating: 7, count: 16), shape: [1, 2, 8])
    for bad in [Float.nan, .infinity, 0, -1] {
      let scale = try Tensor([1, bad], shape: [2])
      let error = #expect(throws: ApusError.self) {
        try operation.run(
          q: q.view, k: k.view, v: v.view, o: o.view,
          scales: AttentionScales(v: .head(scale.view)))
      }
      #expect(
        error?.description
          == "SingleDecode.run: vScale must be finite and positive; found \(bad) at head 1.")
      #expect(o.values == [Float](repeating: 7, count: 16))
    }
  }
}
