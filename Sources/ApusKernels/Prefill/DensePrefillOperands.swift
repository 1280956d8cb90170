internal import ApusCore
internal import ApusIR
internal import ApusNumerics

/// The tensors of one launch as requests × rows × heads.
struct DensePrefillOperands {
  /// A tensor with the same lengths in all requests; strides in elements.
  struct Operand {
    /// Address of row 0 of head 0 of request 0.
    var address: UInt64
    /// Rows of a request.
    var rows: Int
    /// Heads.
    var heads: Int
    /// Requests.
    var batch: Int
    /// Elements from a row to the next.
    var rowStride: Int
    /// Elements from a head to the next.
    var headStride: Int
    /// Elements from a request to the next.
    var batchStride: Int

    /// What is wrong for a tensor map, as "… requirement; found …", or nil.
    var refusal: String? {
      if address % 16 != 0 { return "at a multiple of 16 bytes; found \(address % 16) beyond one" }
      let axes = [("rows", rows, rowStride), ("heads", heads, headStride)]
      for (name, extent, stride) in axes + [("requests", batch, batchStride)] where extent > 1 {
        let limit = name == "requests" ? 1 << 39 : 1 << 32
        if stride % 8 != 0 || stride <= 0 || stride >= limit {
          return "with a positive multiple of 8 elements, below \(limit), between \(name); found "
            + "\(stride)"
        }
      }
      return nil
    }

    /// The tensor as (64, row, 64-column panel, head, request), so that a box is a swizzled tile.
    func map(
      _ element: TensorMapLayout.Element, headDim: Int, boxRows: Int, boxPanels: Int
    ) -> TensorMapLayout {
      // An axis of one element has no neighbours; any stride that the encoder takes will do.
      func bytes(_ stride: Int, _ extent: Int) -> Int { extent > 1 ? stride * 2 : 128 }
      return TensorMapLayout(
        element, address: address, sizes: [64, rows, headDim / 64, heads, batch],
        byteStrides: [
          bytes(rowStride, rows), 128, bytes(headStride, heads), bytes(batchStride, batch),
        ], box: [64, boxRows, boxPanels, 1, 1], swizzle: .bytes128, l2PromotionByteCount: 256)
    }
  }

  let q: Operand
  let k: Operand
  let v: Operand
  let o: Operand
  let lse: Operand?

  /// Names and tensors that need maps.
  var tensors: [(String, Operand)] { [("q", q), ("k", k), ("v", v), ("o", o)] }

  /// The operands of a validated call; nil for kinds that dense prefill does not take.
  init?(_ problem: AttentionProblem, _ arguments: AttentionArguments) {
    guard case .packed(let q) = arguments.q, case .separate(let k, let v) = arguments.kv,
      problem.batch > 0, let k = Self.cache(k, problem), let v = Self.cache(v, problem)
    else { return nil }
    self.q = Self.queries(q, problem)
    self.k = k
    self.v = v
    o = Self.queries(arguments.o, problem)
    lse = arguments.lse.map { Self.queries($0, problem) }
  }

  /// `[rows, head, …]`: request r owns `qoLength` rows from the first offset on.
  private static func queries(_ view: TensorView, _ problem: AttentionProblem) -> Operand {
    let length = problem.qoLength(0)
    let first = problem.qoIndptr.offsets[0] * view.strides[0] * view.scalarType.byteCount
    return Operand(
      address: UInt64(view.address) + UInt64(first), rows: length,
      heads: problem.shape.qoHeadCount, batch: problem.batch, rowStride: view.strides[0],
      headStride: view.strides[1], batchStride: length * view.strides[0])
  }

  private static func cache(_ view: TensorView, _ problem: AttentionProblem) -> Operand? {
    let length = problem.kvLength(0)
    let isRagged: Bool
    let first: Int
    switch problem.geometry {
    case .ragged(let indptr): (isRagged, first) = (true, indptr.offsets[0])
    case .padded: (isRagged, first) = (false, 0)
    case .paged: return nil
    }
    let axes = Array(view.strides.dropFirst(isRagged ? 0 : 1))
    guard axes.count == 3 else { return nil }
    let (row, head) = problem.layout == .nhd ? (axes[0], axes[1]) : (axes[1], axes[0])
    return Operand(
      address: UInt64(view.address) + UInt64(first * row * view.scalarType.byteCount),
      rows: length, heads: problem.shape.kvHeadCount, batch: problem.batch, rowStride: row,
      headStride: head, batchStride: isRagged ? length * row : view.strides[0])
  }
}
