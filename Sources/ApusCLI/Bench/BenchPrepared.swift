internal import Apus
internal import ApusNumerics

/// A case with its tensors, ready to run any number of times.
struct BenchPrepared {
  /// Independent sets of inputs; repetition `i` uses set `i % inputSetCount`.
  let inputSetCount: Int
  /// One call of the operator over input set `i`.
  let run: (_ inputSet: Int) throws -> Void
}

/// Turns cases into tensors and calls.
struct BenchPreparer {
  /// Where the operators run.
  let backend: any Backend
  /// Input sets together exceed this many bytes of cache where data must come from memory.
  let rotationByteCount: Int
  private var inputs = BenchInputs()

  init(backend: any Backend, rotationByteCount: Int) {
    self.backend = backend
    self.rotationByteCount = rotationByteCount
  }

  /// Allocates and fills every tensor of a case and plans it.
  mutating func prepare(_ item: BenchCase) throws -> BenchPrepared {
    switch item.operator {
    case .singleDecode, .batchDecode, .singlePrefill, .batchAppend, .mlaDecode:
      try attention(item)
    case .mergeStates: try merge(item)
    case .appendKV: try store(item)
    case .rotary: try rotary(item)
    }
  }

  /// Sets of `byteCount` bytes each that together exceed the rotation; no rotation gives one.
  static func inputSetCount(byteCount: Int, rotationByteCount: Int) -> Int {
    rotationByteCount == 0 ? 1 : rotationByteCount / max(byteCount, 1) + 1
  }

  // MARK: - Attention

  private mutating func attention(_ item: BenchCase) throws -> BenchPrepared {
    let shape = item.shape
    let table = pageTable(shape)
    let planned = try plan(item, table)
    let rows = shape.batch * shape.qoLength
    // Prefill is bound by arithmetic and reads its small K and V many times: nothing to rotate.
    let sets =
      item.operator == .singlePrefill
      ? 1
      : Self.inputSetCount(
        byteCount: shape.cacheByteCount, rotationByteCount: rotationByteCount)
    let q = try inputs.normal(shape.q.type, [rows, shape.qoHeadCount, shape.headDimQK])
    let o = try Tensor(zeros: shape.o.type, shape: [rows, shape.qoHeadCount, shape.headDimVO])
    let workspace = try Tensor(zeroScalars: .u8, shape: [planned.workspaceByteCount])
    var caches: [BenchKV] = []
    for _ in 0..<sets { caches.append(try cache(shape, table)) }
    return BenchPrepared(inputSetCount: sets) { [caches] set in
      let arguments = AttentionArguments(q: .packed(q.view), kv: caches[set].operand, o: o.view)
      try planned.run(arguments, workspace: workspace.view)
    }
  }

  private func plan(_ item: BenchCase, _ table: PageTable?) throws -> PlannedAttention {
    let shape = item.shape
    let attention = AttentionShape(
      qoHeadCount: shape.qoHeadCount, kvHeadCount: shape.kvHeadCount, headDimQK: shape.headDimQK,
      headDimVO: shape.headDimVO)
    let types = AttentionTypes(q: shape.q.type, kv: shape.kv.type, o: shape.o.type)
    let mask: AttentionMask = shape.isCausal ? .causal : .none
    let layout = shape.kvLayout
    let queries = RaggedIndptr(uniform: shape.qoLength, batch: shape.batch)
    switch (item.operator, table) {
    case (.singleDecode, _):
      return try SingleDecode.plan(
        shape: attention, types: types, kvLength: shape.kvLength, layout: layout, on: backend)
    case (.singlePrefill, _):
      return try SinglePrefill.plan(
        shape: attention, types: types, qoLength: shape.qoLength, kvLength: shape.kvLength,
        layout: layout, mask: mask, on: backend)
    case (.mlaDecode, let table?):
      // The scale of DeepSeek's un-absorbed head, 128 + 64 wide.
      return try MLADecode.plan(
        qoHeadCount: shape.qoHeadCount,
        latent: LatentShape(ckv: shape.headDimVO, kpe: shape.headDimQK - shape.headDimVO),
        types: types, pages: table, layout: layout, queriesPerRequest: shape.qoLength,
        softmaxScale: Float(1 / 192.0.squareRoot()), on: backend)
    case (.batchAppend, let table?):
      return try BatchPrefill.plan(
        shape: attention, types: types, qoIndptr: queries, pages: table, layout: layout, mask: mask,
        on: backend)
    case (.batchAppend, nil):
      return try BatchPrefill.plan(
        shape: attention, types: types, qoIndptr: queries,
        kvIndptr: RaggedIndptr(uniform: shape.kvLength, batch: shape.batch), layout: layout,
        mask: mask, on: backend)
    case (_, let table?):
      return try BatchDecode.plan(
        shape: attention, types: types, pages: table, layout: layout, on: backend)
    case (_, nil):
      return try BatchDecode.planPadded(
        shape: attention, types: types, batch: shape.batch, maxLength: shape.kvLength,
        layout: layout, on: backend)
    }
  }

  private mutating func pageTable(_ shape: BenchShape) -> PageTable? {
    guard let pageSize = shape.pageSize else { return nil }
    return inputs.pages(batch: shape.batch, length: shape.kvLength, pageSize: pageSize)
  }

  private mutating func cache(_ shape: BenchShape, _ table: PageTable?) throws -> BenchKV {
    var tokens = shape.kvLength
    var outer: [Int] = []
    if let table {
      tokens = table.pageSize
      outer = [table.greatestPage + 1]
    } else if shape.cache == .padded {
      outer = [shape.batch]
    } else {
      tokens = shape.batch * shape.kvLength
    }
    let type = shape.kv.type
    if shape.cache == .latent {
      return .latent(try inputs.normal(type, outer + [tokens, shape.headDimQK]))
    }
    outer +=
      shape.kvLayout == .nhd ? [tokens, shape.kvHeadCount] : [shape.kvHeadCount, tokens]
    return .separate(
      k: try inputs.normal(type, outer + [shape.headDimQK]),
      v: try inputs.normal(type, outer + [shape.headDimVO]))
  }

  // MARK: - Merge, append, rotation

  private mutating func merge(_ item: BenchCase) throws -> BenchPrepared {
    let (shape, backend) = (item.shape, backend)
    let (rows, heads, dim) = (shape.batch * shape.qoLength, shape.qoHeadCount, shape.headDimVO)
    let count = shape.stateCount ?? 2
    let states = try inputs.normal(shape.q.type, [rows, count, heads, dim])
    let logits = try inputs.normal(.f32, [rows, count, heads])
    let v = try Tensor(zeros: shape.o.type, shape: [rows, heads, dim])
    let s = try Tensor(zeros: .f32, shape: [rows, heads])
    let arguments: MergeArguments
    if count == 2 {
      let (aV, bV) = (states.view.selecting(0, axis: 1), states.view.selecting(1, axis: 1))
      let (aS, bS) = (logits.view.selecting(0, axis: 1), logits.view.selecting(1, axis: 1))
      arguments = MergeArguments(.two(aV: aV, aS: aS, bV: bV, bS: bS, v: v.view, s: s.view))
    } else {
      arguments = MergeArguments(
        .many(states: states.view, logits: logits.view, v: v.view, s: s.view))
    }
    let owners = [states, logits, v, s]
    return BenchPrepared(inputSetCount: 1) { _ in
      try withExtendedLifetime(owners) { try MergeStates.run(arguments, on: backend) }
    }
  }

  private mutating func store(_ item: BenchCase) throws -> BenchPrepared {
    let (shape, backend) = (item.shape, backend)
    let table = inputs.pages(
      batch: shape.batch, length: shape.kvLength, pageSize: shape.pageSize ?? 16)
    let indices = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr(uniform: shape.qoLength, batch: shape.batch),
      lengths: [Int](repeating: shape.kvLength, count: shape.batch))
    let problem = AppendProblem(
      kvHeadCount: shape.kvHeadCount, headDimK: shape.headDimQK, headDimV: shape.headDimVO,
      sourceType: shape.q.type, cacheType: shape.kv.type, layout: shape.kvLayout, table: table,
      batchIndices: indices.batchIndices, positions: indices.positions)
    let rows = shape.batch * shape.qoLength
    let keys = try inputs.normal(shape.q.type, [rows, shape.kvHeadCount, shape.headDimQK])
    let values = try inputs.normal(shape.q.type, [rows, shape.kvHeadCount, shape.headDimVO])
    let kv = try cache(shape, table)
    var arguments = AppendArguments(keys: keys.view, values: values.view, cache: kv.operand)
    var owners = [keys, values]
    if shape.hasDynamicScale == true {
      let outer = [table.greatestPage + 1, table.pageSize, shape.kvHeadCount]
      let (kScale, vScale) = (
        try Tensor(zeros: .f32, shape: outer), try Tensor(zeros: .f32, shape: outer)
      )
      arguments.kScale = .dynamicTokenHead(kScale.view)
      arguments.vScale = .dynamicTokenHead(vScale.view)
      owners += [kScale, vScale]
    }
    return BenchPrepared(inputSetCount: 1) { [arguments, owners] _ in
      try withExtendedLifetime((owners, kv)) {
        try Append.run(problem, arguments, on: backend)
      }
    }
  }

  private mutating func rotary(_ item: BenchCase) throws -> BenchPrepared {
    let (shape, backend) = (item.shape, backend)
    let rows = shape.batch * shape.qoLength
    let qShape = [rows, shape.qoHeadCount, shape.headDimQK]
    let kShape = [rows, shape.kvHeadCount, shape.headDimQK]
    let q = try inputs.normal(shape.q.type, qShape)
    let k = try inputs.normal(shape.q.type, kShape)
    let qOut = try Tensor(zeros: shape.q.type, shape: qShape)
    let kOut = try Tensor(zeros: shape.q.type, shape: kShape)
    let arguments = RotaryArguments(
      q: q.view, k: k.view, qOut: qOut.view, kOut: kOut.view, positions: Array(0..<rows),
      source: .frequencies(RotaryEmbedding()))
    let owners = [q, k, qOut, kOut]
    return BenchPrepared(inputSetCount: 1) { _ in
      try withExtendedLifetime(owners) { try Rotary.run(arguments, on: backend) }
    }
  }
}

/// One input set's cache, which it owns.
private enum BenchKV {
  case separate(k: Tensor, v: Tensor)
  case latent(Tensor)

  var operand: KVOperand {
    switch self {
    case .separate(let k, let v): .separate(k: k.view, v: v.view)
    case .latent(let rows): .packedLatent(rows.view)
    }
  }
}
