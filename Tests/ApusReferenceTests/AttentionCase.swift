import ApusCore
import ApusNumerics
import ApusReference
import ApusTestSupport

/// Attention inputs by meaning, independent of where a geometry puts them.
struct AttentionCase {
  var qoHeads = 1
  var kvHeads = 1
  var dimQK = 8
  var dimVO = 8
  var types = AttentionTypes(q: .f32)
  var mask = AttentionMask.none
  var modification = ScoreModification(softmaxScale: 1)
  /// `q[request][i][head]` is a row.
  var q: [[[[Float]]]] = []
  /// `k[request][j][head]` is a row.
  var k: [[[[Float]]]] = []
  /// `v[request][j][head]` is a row.
  var v: [[[[Float]]]] = []
  var sinks: [Float]?
  /// Scales of one value.
  var scales = AttentionScales()

  var shape: AttentionShape {
    AttentionShape(
      qoHeadCount: qoHeads, kvHeadCount: kvHeads, headDimQK: dimQK, headDimVO: dimVO)
  }
  var qoLengths: [Int] { q.map(\.count) }
  var kvLengths: [Int] { k.map(\.count) }

  /// One request, one head, rows padded with zeros to 8 elements.
  static func single(q: [[Float]], k: [[Float]], v: [[Float]]) -> AttentionCase {
    func padded(_ rows: [[Float]]) -> [[[Float]]] {
      rows.map { [$0 + [Float](repeating: 0, count: 8 - $0.count)] }
    }
    var result = AttentionCase()
    result.q = [padded(q)]
    result.k = [padded(k)]
    result.v = [padded(v)]
    return result
  }

  /// Random values in −1…1, rounded to the types.
  static func random(
    seed: UInt64, qoLengths: [Int], kvLengths: [Int], qoHeads: Int = 1, kvHeads: Int = 1,
    dimQK: Int = 8, dimVO: Int = 8, types: AttentionTypes = AttentionTypes(q: .f32)
  ) -> AttentionCase {
    var generator = SplitMix64(seed: seed)
    func rows(_ lengths: [Int], _ heads: Int, _ dim: Int, _ type: ElementType) -> [[[[Float]]]] {
      lengths.map { length in
        (0..<length).map { _ in
          (0..<heads).map { _ in
            (0..<dim).map { _ in
              let value = Float.random(in: -1...1, using: &generator)
              return type.format.decode(type.format.encode(value, overflow: .saturate))
            }
          }
        }
      }
    }
    var result = AttentionCase()
    (result.qoHeads, result.kvHeads, result.dimQK, result.dimVO) = (qoHeads, kvHeads, dimQK, dimVO)
    result.types = types
    result.modification = ScoreModification()
    result.q = rows(qoLengths, qoHeads, dimQK, types.q)
    result.k = rows(kvLengths, kvHeads, dimQK, types.kv)
    result.v = rows(kvLengths, kvHeads, dimVO, types.kv)
    return result
  }

  /// Where `place` put the keys and values.
  enum Placement: CaseIterable {
    case ragged, padded, pages, combinedPages, blockTable
  }

  /// The problem and its tensors in one of the placements. Cache slots that no token uses are NaN.
  func place(
    _ placement: Placement = .ragged, layout: KVLayout = .nhd, pageSize: Int = 3,
    in pool: TensorPool
  ) -> (problem: AttentionProblem, arguments: AttentionArguments) {
    let geometry = geometry(placement, pageSize: pageSize)
    let kv = operand(geometry, placement, layout, pool)
    let rows = qoLengths.reduce(0, +)
    let problem = AttentionProblem(
      shape: shape, types: types, qoIndptr: RaggedIndptr(lengths: qoLengths), geometry: geometry,
      layout: layout, mask: mask, modification: modification)
    let arguments = AttentionArguments(
      q: .packed(
        pool.tensor(
          types.q, [rows, qoHeads, dimQK], q.flatMap { $0.flatMap { $0.flatMap { $0 } } })),
      kv: kv, o: pool.tensor(types.o, [rows, qoHeads, dimVO]),
      lse: pool.tensor(.f32, [rows, qoHeads]), scales: scales,
      sinks: sinks.map { pool.tensor(.f32, [qoHeads], $0) })
    return (problem, arguments)
  }

  /// The definition's result in one of the placements.
  func attend(
    _ placement: Placement = .ragged, layout: KVLayout = .nhd, pageSize: Int = 3
  ) throws -> AttentionResult {
    try withPool { pool in
      let (problem, arguments) = place(placement, layout: layout, pageSize: pageSize, in: pool)
      return try Reference.attention(problem, arguments)
    }
  }

  private func geometry(_ placement: Placement, pageSize: Int) -> KVGeometry {
    let pageCounts = kvLengths.map { ($0 + pageSize - 1) / pageSize }
    let total = pageCounts.reduce(0, +)
    // Pages in reverse order behind one that nobody owns.
    let indices = (0..<total).map { Int32(total - $0) }
    switch placement {
    case .ragged: return .ragged(RaggedIndptr(lengths: kvLengths))
    case .padded: return .padded(maxLength: (kvLengths.max() ?? 0) + 2, lengths: kvLengths)
    case .pages, .combinedPages:
      return .paged(
        PageTable(
          pageSize: pageSize, indptr: RaggedIndptr(lengths: pageCounts), indices: indices,
          lastPageLength: kvLengths.map { $0 == 0 ? 0 : Int32(($0 - 1) % pageSize + 1) }))
    case .blockTable:
      let width = (pageCounts.max() ?? 0) + 1
      var blocks = [Int32](repeating: -1, count: width * kvLengths.count)
      var next = 0
      for (r, count) in pageCounts.enumerated() {
        for index in 0..<count {
          blocks[r * width + index] = indices[next]
          next += 1
        }
      }
      return .paged(
        PageTable(
          pageSize: pageSize, blocks: blocks, pagesPerRequest: width, lengths: kvLengths))
    }
  }

  private func operand(
    _ geometry: KVGeometry, _ placement: Placement, _ layout: KVLayout, _ pool: TensorPool
  ) -> KVOperand {
    func outer(_ head: Int, _ token: Int) -> [Int] {
      layout == .nhd ? [token, head] : [head, token]
    }
    func index(_ r: Int, _ j: Int, _ head: Int) -> [Int] {
      switch geometry {
      case .ragged: outer(head, kvLengths[..<r].reduce(0, +) + j)
      case .padded: [r] + outer(head, j)
      case .paged(let table):
        [table.page(r, j / table.pageSize)] + outer(head, j % table.pageSize)
      }
    }
    func extents(_ dim: Int) -> [Int] {
      switch geometry {
      case .ragged(let indptr): outer(kvHeads, indptr.end) + [dim]
      case .padded(let maxLength, let lengths):
        [lengths.count] + outer(kvHeads, maxLength) + [dim]
      case .paged(let table):
        [table.greatestPage + 1] + outer(kvHeads, table.pageSize) + [dim]
      }
    }
    func fill(_ view: TensorView, _ rows: [[[[Float]]]]) {
      for (r, tokens) in rows.enumerated() {
        for (j, heads) in tokens.enumerated() {
          for (head, row) in heads.enumerated() {
            for (e, value) in row.enumerated() {
              HostTensor(view).store(
                value, at: index(r, j, head) + [e], overflow: .nonSaturating)
            }
          }
        }
      }
    }
    if placement == .combinedPages {
      var shape = extents(dimQK)
      shape.insert(2, at: 1)
      let both = pool.tensor(types.kv, shape)
      fill(both.selecting(0, axis: 1), k)
      fill(both.selecting(1, axis: 1), v)
      return .combined(both)
    }
    let keys = pool.tensor(types.kv, extents(dimQK))
    let values = pool.tensor(types.kv, extents(dimVO))
    fill(keys, k)
    fill(values, v)
    return .separate(k: keys, v: values)
  }
}
