import Apus
import ApusCore
import ApusNumerics

/// How the demo keeps K and V.
struct CacheFormat: Sendable, Hashable {
  /// Granularity of scales.
  enum Granularity: Sendable, Hashable {
    case one
    case head
    case tokenHead
  }

  var type: ElementType
  var granularity: Granularity = .one
  var layout: KVLayout = .nhd
  /// Tokens per page; nil keeps one slab per request, as long as the longest.
  var pageSize: Int?

  /// `bf16`, `e4m3/head`, `e4m3/token`.
  var description: String {
    switch granularity {
    case .one: "\(type)"
    case .head: "\(type)/head"
    case .tokenHead: "\(type)/token"
    }
  }
}

/// The decode batch: each request holds the first tokens of the text in pages of its own.
struct DecodeBatch: Sendable {
  /// Tokens of each request.
  let lengths: [Int]
  /// New keys and values `[token, head, dim]` of all requests, f32.
  let keys: Tensor
  let values: Tensor

  init(_ data: ExampleData, _ layer: ExampleData.Layer, lengths: [Int]) throws {
    self.lengths = lengths
    let width = data.headCount * data.headDim
    func gathered(_ source: [Float]) throws -> Tensor {
      let tensor = try Tensor(
        zeros: .f32, shape: [lengths.reduce(0, +), data.headCount, data.headDim])
      tensor.withMutableBytes { bytes in
        var offset = 0
        source.withUnsafeBytes { all in
          for length in lengths {
            let part = UnsafeRawBufferPointer(rebasing: all[..<(length * width * 4)])
            UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyMemory(from: part)
            offset += part.count
          }
        }
      }
      return tensor
    }
    keys = try gathered(layer.k)
    values = try gathered(layer.v)
  }

  /// Tokens of all requests.
  var tokenCount: Int { lengths.reduce(0, +) }
}

/// Paged or padded K and V of one layer, filled by `Append`.
final class DemoCache: Sendable {
  let format: CacheFormat
  let table: PageTable
  let k: Tensor
  let v: Tensor
  let kScale: Tensor?
  let vScale: Tensor?
  let problem: AppendProblem
  let arguments: AppendArguments
  /// Owner of the tensors that `arguments` borrows.
  private let batch: DecodeBatch

  /// An empty cache for the requests of a batch. Pages lie in an order of their own, as in a server
  /// that has run for a while.
  init(_ data: ExampleData, _ batch: DecodeBatch, _ format: CacheFormat) throws {
    self.format = format
    self.batch = batch
    let pageSize = format.pageSize ?? data.tokenCount
    table = Self.table(lengths: batch.lengths, pageSize: pageSize, isPadded: format.pageSize == nil)
    let outer = format.layout == .nhd ? [pageSize, data.headCount] : [data.headCount, pageSize]
    let shape = [table.greatestPage + 1] + outer
    k = try Tensor(zeros: format.type, shape: shape + [data.headDim])
    v = try Tensor(zeros: format.type, shape: shape + [data.headDim])
    switch format.granularity {
    case .one: (kScale, vScale) = (nil, nil)
    case .head:
      kScale = try Self.headScales(batch.keys, data, format.type)
      vScale = try Self.headScales(batch.values, data, format.type)
    case .tokenHead:
      kScale = try Tensor(zeros: .f32, shape: shape)
      vScale = try Tensor(zeros: .f32, shape: shape)
    }
    let rows = RaggedIndptr(lengths: batch.lengths)
    let (indices, positions) = try AppendProblem.indicesAndPositions(
      appendIndptr: rows, lengths: batch.lengths)
    problem = AppendProblem(
      kvHeadCount: data.headCount, headDimK: data.headDim, sourceType: .f32,
      cacheType: format.type, layout: format.layout, table: table, batchIndices: indices,
      positions: positions)
    arguments = AppendArguments(
      keys: batch.keys.view, values: batch.values.view,
      cache: .separate(k: k.view, v: v.view),
      kScale: Self.appendScale(format, kScale), vScale: Self.appendScale(format, vScale))
  }

  /// Writes every token of the batch.
  func append(on backend: any Backend) throws {
    try withExtendedLifetime(self) { try Append.run(problem, arguments, on: backend) }
  }

  /// Bytes that an append reads and writes.
  var appendByteCount: Int {
    let source = arguments.keys.byteCount + arguments.values.byteCount
    return source + source / 4 * format.type.byteCount + scaleByteCount
  }

  /// Bytes of K, V and scales in use.
  var usedByteCount: Int {
    let source = arguments.keys.byteCount + arguments.values.byteCount
    return source / 4 * format.type.byteCount + scaleByteCount
  }

  private var scaleByteCount: Int {
    format.granularity == .tokenHead ? 2 * problem.tokenCount * problem.kvHeadCount * 4 : 0
  }

  /// What decode passes as scales.
  var scales: AttentionScales {
    guard let kScale, let vScale else { return AttentionScales() }
    return format.granularity == .head
      ? AttentionScales(k: .head(kScale.view), v: .head(vScale.view))
      : AttentionScales(k: .tokenHead(kScale.view), v: .tokenHead(vScale.view))
  }

  /// The pages of one request alone.
  func table(ofRequest r: Int) -> PageTable {
    let pages = (0..<table.pageCount(r)).map { Int32(table.page(r, $0)) }
    let last = table.length(r) - (pages.count - 1) * table.pageSize
    return PageTable(
      pageSize: table.pageSize, indptr: RaggedIndptr([0, pages.count]), indices: pages,
      lastPageLength: [Int32(last)])
  }

  /// The first or the remaining pages of every request: contexts that `MergeStates` puts together.
  func half(_ isFirst: Bool) -> PageTable {
    var lengths: [Int] = []
    var pages: [[Int32]] = []
    for r in 0..<table.batch {
      let count = table.pageCount(r)
      let range = isFirst ? 0..<count / 2 : count / 2..<count
      pages.append(range.map { Int32(table.page(r, $0)) })
      let before = count / 2 * table.pageSize
      lengths.append(isFirst ? before : table.length(r) - before)
    }
    return PageTable(
      pageSize: table.pageSize, indptr: RaggedIndptr(lengths: pages.map(\.count)),
      indices: pages.flatMap { $0 },
      lastPageLength: zip(lengths, pages).map { length, pages in
        pages.isEmpty ? 0 : Int32(length - (pages.count - 1) * table.pageSize)
      })
  }

  /// Requests in pages whose numbers step through the cache by a stride coprime to their count; a
  /// padded cache is one page per request, in order.
  private static func table(lengths: [Int], pageSize: Int, isPadded: Bool) -> PageTable {
    let counts = lengths.map { ($0 + pageSize - 1) / pageSize }
    let total = counts.reduce(0, +)
    var step = 1
    if !isPadded {
      step = max(total * 5 / 8, 1)
      while gcd(step, total) != 1 { step += 1 }
    }
    let indices = (0..<total).map { Int32($0 * step % max(total, 1)) }
    return PageTable(
      pageSize: pageSize, indptr: RaggedIndptr(lengths: counts), indices: indices,
      lastPageLength: zip(lengths, counts).map { Int32($0 - ($1 - 1) * pageSize) })
  }

  private static func gcd(_ a: Int, _ b: Int) -> Int { b == 0 ? a : gcd(b, a % b) }

  /// `amax / greatestFiniteMagnitude` of each head.
  private static func headScales(
    _ source: Tensor, _ data: ExampleData, _ type: ElementType
  ) throws -> Tensor {
    var greatest = [Float](repeating: 0, count: data.headCount)
    for (index, value) in source.values.enumerated() {
      let head = index / data.headDim % data.headCount
      greatest[head] = max(greatest[head], value.magnitude)
    }
    return try Tensor(
      greatest.map { $0 > 0 ? $0 / type.greatestFiniteMagnitude : 1 }, shape: [data.headCount])
  }

  private static func appendScale(_ format: CacheFormat, _ scale: Tensor?) -> AppendScale {
    guard let scale else { return .one }
    return format.granularity == .head ? .head(scale.view) : .dynamicTokenHead(scale.view)
  }
}
