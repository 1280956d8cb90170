import Apus
import ApusCore
import ApusNumerics

/// One kind of decode: types and where the cache lies.
struct DemoDecode {
  var q: ElementType
  var cache: CacheFormat

  /// Pages of 16 tokens in every type, then padded slabs, where f16 queries meet FP8 keys.
  static let all = [
    DemoDecode(q: .bf16, cache: CacheFormat(type: .bf16, pageSize: 16)),
    DemoDecode(q: .bf16, cache: CacheFormat(type: .e4m3, granularity: .head, pageSize: 16)),
    DemoDecode(q: .bf16, cache: CacheFormat(type: .e5m2, granularity: .head, pageSize: 16)),
    DemoDecode(q: .bf16, cache: CacheFormat(type: .e4m3, granularity: .tokenHead, pageSize: 16)),
    DemoDecode(q: .bf16, cache: CacheFormat(type: .bf16)),
    DemoDecode(q: .f16, cache: CacheFormat(type: .e4m3, granularity: .head, layout: .hnd)),
    DemoDecode(q: .f16, cache: CacheFormat(type: .e5m2, granularity: .head, layout: .hnd)),
  ]

  var isPaged: Bool { cache.pageSize != nil }
  var name: String { "BatchDecode \(isPaged ? "paged" : "padded")" }
  var types: String { "\(q) · \(cache.description)" }
}

extension DemoSession {
  /// Fills caches with the text's keys and values, then decodes the last token of each request.
  func decodeFindings() throws -> Findings {
    let batches = try data.layers.map { try DecodeBatch(data, $0, lengths: lengths) }
    var appends = Findings()
    var decodes = Findings()
    var merges = Findings()
    var known: [String: [Oracle]] = [:]
    for decode in DemoDecode.all {
      progress.show("\(decode.name), \(decode.types) …")
      let caches = try batches.map { try DemoCache(data, $0, decode.cache) }
      if decode.isPaged {
        appends.append(try append(caches, decode))
      } else {
        for cache in caches { try cache.append(on: backend) }
      }
      // The stored values, and with them the definition's results, do not depend on the geometry.
      let oracles = try known[decode.types] ?? self.oracles(caches, decode)
      known[decode.types] = oracles
      decodes.append(try self.decode(caches, decode, oracles))
      if decode.isPaged, decode.cache.type == .bf16 {
        merges.append(try merge(caches, decode, oracles))
      }
    }
    appends.append(decodes)
    appends.append(merges)
    return appends
  }

  /// The last token's query of each request.
  private func queries(_ layer: ExampleData.Layer, _ type: ElementType) throws -> Tensor {
    let width = data.headCount * data.headDim
    return try tensor(lengths.flatMap { layer.q[($0 - 1) * width..<$0 * width] }, type)
  }

  /// Definition and naive computation of every request of each layer.
  ///
  /// Decode over the first n tokens is row n − 1 of a causal prefill over the longest request's
  /// cache: one definition serves all requests, shares no code path with the decode it judges, and
  /// reads other pages than all but one of them.
  private func oracles(_ caches: [DemoCache], _ decode: DemoDecode) throws -> [Oracle] {
    try concurrentMap(Array(zip(data.layers, caches))) { layer, cache in
      let q = try tensor(layer.q, decode.q)
      let o = try Tensor(zeros: decode.q, shape: q.shape)
      let problem = AttentionProblem(
        shape: shape, types: AttentionTypes(q: decode.q, kv: decode.cache.type),
        qoIndptr: RaggedIndptr([0, data.tokenCount]),
        geometry: .paged(cache.table(ofRequest: lengths.count - 1)), layout: decode.cache.layout,
        mask: .causal)
      let arguments = AttentionArguments(
        q: .packed(q.view), kv: .separate(k: cache.k.view, v: cache.v.view), o: o.view,
        scales: cache.scales)
      let oracle = try Oracle(problem, arguments)
      withExtendedLifetime((q, o, cache)) {}
      return oracle.selecting(rows: lengths.map { $0 - 1 })
    }
  }

  private func decode(
    _ caches: [DemoCache], _ decode: DemoDecode, _ oracles: [Oracle]
  ) throws -> Findings {
    var measurement = Measurement()
    var wholeWay = Measurement()
    var bytes = 0
    let roundings = try concurrentMap(data.layers) {
      storageModel($0, decode).causalRows(data, $0)
    }
    for (index, layer) in data.layers.enumerated() {
      let cache = caches[index]
      let q = try queries(layer, decode.q)
      let o = try Tensor(zeros: decode.q, shape: q.shape)
      let lse = try Tensor(zeros: .f32, shape: [lengths.count, data.headCount])
      let planned = try plan(cache, decode)
      measurement.seconds += try time {
        try planned.run(
          q: q.view, k: cache.k.view, v: cache.v.view, o: o.view, lse: lse.view,
          scales: cache.scales)
      }
      bytes = cache.usedByteCount + q.byteCount + o.byteCount + lse.byteCount
      let oracle = oracles[index]
      measurement.add(error: relativeError(o.values, oracle.o), bound: oracle.bound)
      measurement.addLSE(error: relativeError(lse.values, oracle.lse), bound: oracle.lseBound)

      let width = data.headCount * data.headDim
      let stored = lengths.flatMap { layer.oCausal[($0 - 1) * width..<$0 * width] }
      wholeWay.add(
        error: relativeError(o.values, stored.map(Double.init)),
        bound: StorageErrorModel.bound(lengths.map { roundings[index][$0 - 1] }) + oracle.bound
          + ElementType.f32.unitRoundoff)
      withExtendedLifetime((q, o, lse, cache)) {}
    }
    let tokens = lengths.reduce(0, +)
    return Findings(
      rows: [row(decode.name, types: decode.types, measurement, work: .bytes(bytes))],
      storage: [
        storageRow(
          decode.name, types: decode.types,
          cacheBytesPerToken: Double(caches.first?.usedByteCount ?? 0) / Double(tokens), wholeWay)
      ])
  }

  private func plan(_ cache: DemoCache, _ decode: DemoDecode) throws -> PlannedAttention {
    let types = AttentionTypes(q: decode.q, kv: decode.cache.type)
    guard decode.isPaged else {
      return try BatchDecode.planPadded(
        shape: shape, types: types, batch: lengths.count, maxLength: data.tokenCount,
        lengths: lengths, layout: decode.cache.layout, on: backend)
    }
    return try BatchDecode.plan(
      shape: shape, types: types, pages: cache.table, layout: decode.cache.layout, on: backend)
  }

  private func storageModel(
    _ layer: ExampleData.Layer, _ decode: DemoDecode
  ) -> StorageErrorModel {
    func operand(_ values: [Float]) -> StorageErrorModel.Storage {
      StorageErrorModel.Storage(
        type: decode.cache.type, scales: decode.cache.rowScales(values, data))
    }
    return StorageErrorModel(
      q: StorageErrorModel.Storage(type: decode.q), k: operand(layer.k), v: operand(layer.v),
      o: decode.q)
  }

  /// Decode over the two halves of each context, then ⊕ of the states.
  private func merge(
    _ caches: [DemoCache], _ decode: DemoDecode, _ oracles: [Oracle]
  ) throws -> Findings {
    var measurement = Measurement()
    var bytes = 0
    for (index, layer) in data.layers.enumerated() {
      let cache = caches[index]
      let q = try queries(layer, decode.q)
      func state(_ isFirst: Bool) throws -> (o: Tensor, lse: Tensor) {
        let o = try Tensor(zeros: .f32, shape: q.shape)
        let lse = try Tensor(zeros: .f32, shape: [lengths.count, data.headCount])
        // Every key of a half precedes the query: no mask.
        let planned = try BatchDecode.plan(
          shape: shape, types: AttentionTypes(q: decode.q, kv: decode.cache.type, o: .f32),
          pages: cache.half(isFirst), mask: .none, on: backend)
        try planned.run(
          q: q.view, k: cache.k.view, v: cache.v.view, o: o.view, lse: lse.view,
          scales: cache.scales)
        return (o, lse)
      }
      let (first, second) = (try state(true), try state(false))
      let o = try Tensor(zeros: decode.q, shape: q.shape)
      let lse = try Tensor(zeros: .f32, shape: [lengths.count, data.headCount])
      let arguments = MergeArguments(
        .two(
          aV: first.o.view, aS: first.lse.view, bV: second.o.view, bS: second.lse.view, v: o.view,
          s: lse.view))
      measurement.seconds += try time { try MergeStates.run(arguments, on: backend) }
      bytes = 2 * (first.o.byteCount + first.lse.byteCount) + o.byteCount + lse.byteCount
      let oracle = oracles[index]
      measurement.add(error: relativeError(o.values, oracle.o), bound: oracle.bound)
      measurement.addLSE(error: relativeError(lse.values, oracle.lse), bound: oracle.lseBound)
      withExtendedLifetime((q, first, second, o, lse, cache)) {}
    }
    return Findings(rows: [
      row("MergeStates", types: "\(decode.q) · f32 states", measurement, work: .bytes(bytes))
    ])
  }
}
