import Apus
import ApusCore
import ApusNumerics

/// Keys and values of `apus attend` in the type, layout and geometry asked for.
struct AttendCache {
  /// Where the tokens of each request lie.
  let geometry: KVGeometry
  private let problem: AppendProblem
  private let k: Tensor
  private let v: Tensor
  private let kScale: Tensor?
  private let vScale: Tensor?
  private let scales: CacheScales
  private let keys: AttendOperand
  private let values: AttendOperand
  private let isRagged: Bool

  /// An empty cache for the tokens of `keys` and `values`, whose shapes agree and types are equal.
  ///
  /// - Parameter pageSize: 0 lays all requests end to end.
  init(
    keys: AttendOperand, values: AttendOperand, type: ElementType, layout: KVLayout, pageSize: Int,
    scales: CacheScales
  ) throws {
    (self.keys, self.values, self.scales) = (keys, values, scales)
    let (batch, tokens) = (keys.batch, keys.tokens)
    isRagged = pageSize == 0
    // Ragged tokens are one page of one request to the append that converts them.
    let table = Self.table(
      lengths: isRagged ? [batch * tokens] : [Int](repeating: tokens, count: batch),
      pageSize: isRagged ? max(batch * tokens, 1) : pageSize)
    geometry =
      isRagged ? .ragged(RaggedIndptr(uniform: tokens, batch: batch)) : .paged(table)
    let outer = layout == .nhd ? [table.pageSize, keys.heads] : [keys.heads, table.pageSize]
    let shape = [max(table.greatestPage + 1, 1)] + outer
    k = try Tensor(zeros: type, shape: shape + [keys.dim])
    v = try Tensor(zeros: type, shape: shape + [values.dim])
    switch scales {
    case .none: (kScale, vScale) = (nil, nil)
    case .head:
      kScale = try Self.headScales(keys, type)
      vScale = try Self.headScales(values, type)
    case .tokenHead:
      kScale = try Tensor(zeros: .f32, shape: shape)
      vScale = try Tensor(zeros: .f32, shape: shape)
    }
    let lengths = (0..<table.batch).map(table.length)
    let (indices, positions) = try AppendProblem.indicesAndPositions(
      appendIndptr: RaggedIndptr(lengths: lengths), lengths: lengths)
    problem = AppendProblem(
      kvHeadCount: keys.heads, headDimK: keys.dim, headDimV: values.dim, sourceType: keys.type,
      cacheType: type, layout: layout, table: table, batchIndices: indices, positions: positions)
  }

  /// Writes every token, converted and scaled, then calls `body` with what attention takes.
  func filled<Result>(
    on backend: any Backend, _ body: (KVOperand, AttentionScales) throws -> Result
  ) throws -> Result {
    try withExtendedLifetime((k, v, kScale, vScale, keys, values)) {
      try Append.run(
        problem,
        AppendArguments(
          keys: keys.tensor.view, values: values.tensor.view,
          cache: .separate(k: k.view, v: v.view), kScale: appendScale(kScale),
          vScale: appendScale(vScale)),
        on: backend)
      return try body(
        .separate(k: placed(k.view), v: placed(v.view)),
        AttentionScales(k: scale(kScale), v: scale(vScale)))
    }
  }

  /// A view as the geometry has it: ragged tensors have no pages.
  private func placed(_ view: TensorView) -> TensorView {
    isRagged ? view.selecting(0, axis: 0) : view
  }

  private func appendScale(_ tensor: Tensor?) -> AppendScale {
    guard let tensor else { return .one }
    return scales == .head ? .head(tensor.view) : .dynamicTokenHead(tensor.view)
  }

  private func scale(_ tensor: Tensor?) -> Scale {
    guard let tensor else { return .one }
    return scales == .head ? .head(tensor.view) : .tokenHead(placed(tensor.view))
  }

  /// Pages in order of requests.
  private static func table(lengths: [Int], pageSize: Int) -> PageTable {
    let counts = lengths.map { $0 / pageSize + ($0 % pageSize == 0 ? 0 : 1) }
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(lengths: counts),
      indices: (0..<counts.reduce(0, +)).map(Int32.init(truncatingIfNeeded:)),
      lastPageLength: zip(lengths, counts).map { length, count in
        count == 0 ? 0 : Int32(truncatingIfNeeded: length - (count - 1) * pageSize)
      })
  }

  /// `amax / greatestFiniteMagnitude` of the finite values of each head, 1 for a head of zeros.
  private static func headScales(_ operand: AttendOperand, _ type: ElementType) throws -> Tensor {
    var greatest = [Float](repeating: 0, count: operand.heads)
    for (index, value) in operand.tensor.values.enumerated() where value.isFinite {
      let head = index / operand.dim % operand.heads
      greatest[head] = max(greatest[head], value.magnitude)
    }
    return try Tensor(
      greatest.map { amax in
        let scale = amax / type.greatestFiniteMagnitude
        return scale >= .leastNormalMagnitude ? scale : 1
      }, shape: [operand.heads])
  }
}
