import Apus
import ApusCore
import ApusNumerics
import ApusReference

extension DemoSession {
  /// Fills the caches, timed, and checks every row that was written.
  func append(_ caches: [DemoCache], _ decode: DemoDecode) throws -> Findings {
    var measurement = Measurement()
    measurement.differingRows = 0
    for (layer, cache) in zip(data.layers, caches) {
      measurement.seconds += try time { try cache.append(on: backend) }
      // Every request holds the first tokens of the same text: one request of all tokens, filled by
      // the definition, says what each of them must hold.
      let expected = try DemoCache(
        data, DecodeBatch(data, layer, lengths: [data.tokenCount]), decode.cache)
      try expected.appendByDefinition()
      measurement.differingRows? += cache.differingRows(from: expected)
      let error = Self.storageError(
        layer.k + layer.v, found: try cache.dequantised(request: lengths.count - 1), decode.cache,
        data)
      measurement.add(error: error.found, bound: error.bound)
    }
    return Findings(rows: [
      row(
        "Append paged", types: "f32 · \(decode.cache.description)", measurement,
        work: .bytes(caches.first?.appendByteCount ?? 0))
    ])
  }

  /// Relative L2 error of stored values, and what half a step of the type and one rounding of the
  /// quotient in f32 allow.
  private static func storageError(
    _ source: [Float], found: [Double], _ format: CacheFormat, _ data: ExampleData
  ) -> (found: Double, bound: Double) {
    let half = source.count / 2
    let scales = [source[..<half], source[half...]].flatMap {
      format.rowScales(Array($0), data)
        ?? [Float](repeating: 1, count: data.tokenCount * data.headCount)
    }
    var squaredNorm = 0.0
    var squaredError = 0.0
    var squaredBound = 0.0
    for (index, value) in source.enumerated() {
      let scale = Double(scales[index / data.headDim])
      let x = Double(value)
      let allowed =
        format.type.ulp(of: x / scale) * scale / 2 + ElementType.f32.unitRoundoff * x.magnitude
      squaredNorm += x * x
      squaredError += (found[index] - x) * (found[index] - x)
      squaredBound += allowed * allowed
    }
    return ((squaredError / squaredNorm).squareRoot(), (squaredBound / squaredNorm).squareRoot())
  }
}

extension CacheFormat {
  /// The scale of each (token, head) row of `[token, head, dim]`; nil when there are none.
  func rowScales(_ values: [Float], _ data: ExampleData) -> [Float]? {
    let rows = values.count / data.headDim
    let greatest = (0..<rows).map { row in
      values[row * data.headDim..<(row + 1) * data.headDim].reduce(0) { max($0, $1.magnitude) }
    }
    func scale(_ amax: Float) -> Float { amax > 0 ? amax / type.greatestFiniteMagnitude : 1 }
    switch granularity {
    case .one: return nil
    case .tokenHead: return greatest.map(scale)
    case .head:
      let heads = (0..<data.headCount).map { head in
        stride(from: head, to: rows, by: data.headCount).reduce(0) { max($0, greatest[$1]) }
      }
      return (0..<rows).map { scale(heads[$0 % data.headCount]) }
    }
  }
}

extension DemoCache {
  /// Writes every token of the batch as the definition does.
  func appendByDefinition() throws {
    try withExtendedLifetime(self) { try Reference.append(problem, arguments) }
  }

  /// (Token, head) rows of any request whose bytes or scales differ from those of the same token in
  /// the only request of `expected`.
  func differingRows(from expected: DemoCache) -> Int {
    var count = 0
    for r in 0..<table.batch {
      for token in 0..<table.length(r) {
        for head in 0..<problem.kvHeadCount {
          let here = index(r, token, head)
          let there = expected.index(0, token, head)
          let pairs = [(k, expected.k), (v, expected.v)]
          let scales = [(kScale, expected.kScale), (vScale, expected.vScale)]
          let isEqual =
            pairs.allSatisfy { Self.areEqual($0, $1, here, there, width: problem.headDimK) }
            && (format.granularity != .tokenHead
              || scales.allSatisfy { mine, other in
                guard let mine, let other else { return false }
                return Self.areEqual(mine, other, here, there, width: 1)
              })
          if !isEqual { count += 1 }
        }
      }
    }
    return count
  }

  /// All keys, then all values of a request as the cache means them, `[token, head, dim]` each.
  func dequantised(request r: Int) throws -> [Double] {
    var result: [Double] = []
    for (tensor, scale) in [(k, kScale), (v, vScale)] {
      let scales = scale?.values
      tensor.withBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        for token in 0..<table.length(r) {
          for head in 0..<problem.kvHeadCount {
            let row = index(r, token, head)
            let multiplier =
              switch format.granularity {
              case .one: 1.0
              case .head: Double(scales?[head] ?? 1)
              case .tokenHead: Double(scales?[row] ?? 1)
              }
            for e in 0..<problem.headDimK {
              result.append(
                Double(format.type.load(base, at: row * problem.headDimK + e)) * multiplier)
            }
          }
        }
      }
    }
    return result
  }

  /// Number of a (token, head) row within the cache.
  private func index(_ r: Int, _ token: Int, _ head: Int) -> Int {
    let page = table.page(r, token / table.pageSize)
    let slot = token % table.pageSize
    return format.layout == .nhd
      ? (page * table.pageSize + slot) * problem.kvHeadCount + head
      : (page * problem.kvHeadCount + head) * table.pageSize + slot
  }

  private static func areEqual(
    _ a: Tensor, _ b: Tensor, _ rowA: Int, _ rowB: Int, width: Int
  ) -> Bool {
    let size = width * a.scalarType.byteCount
    return a.withBytes { a in
      b.withBytes { b in
        a[rowA * size..<(rowA + 1) * size].elementsEqual(b[rowB * size..<(rowB + 1) * size])
      }
    }
  }
}
