public import ApusCore
internal import ApusNumerics

extension Reference {
  /// Writes new tokens into a paged cache.
  ///
  /// Token `t` goes to slot `positions[t] % pageSize` of page `positions[t] / pageSize` of request
  /// `batchIndices[t]`; −1 skips it. Per element `x` of a row with scale `s`:
  /// ```
  /// stored = round_cache(fl32(x / s))
  /// ```
  /// `x` is widened exactly to f32, the quotient (never a product with 1 / s) is rounded to f32, and
  /// then to the cache type: to nearest even, saturating, infinities included. NaN becomes a NaN
  /// whose sign and payload are unspecified. Without a scale (`.one`) the quotient is `x`; if
  /// moreover the types are equal the element's bits are copied, so infinities and NaN payloads
  /// survive. NaN apart, every back end writes these very bytes.
  ///
  /// `.dynamicTokenHead` stores one scale per token and head beside the row:
  /// ```
  /// amax = max |x| over the finite elements of the row (0 without any)
  /// s = fl32(amax / greatestFiniteMagnitude), or 1 if that is below 2^−126
  /// ```
  /// so a row of zeros, or one too small for a normal scale, gets 1. An infinite element saturates
  /// and a NaN stays NaN; neither spoils its neighbours. For MLA the row is ckv and kpe together, and
  /// any `kScale` holds for both unless `vScale` says otherwise for kpe.
  ///
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public static func append(
    _ problem: AppendProblem, _ arguments: AppendArguments
  ) throws(ArgumentError) {
    let problem = try problem.readingLists(operation: "Reference.append")
    _ = try problem.resolve(arguments, memory: .host, operation: "Reference.append")
    for t in 0..<problem.tokenCount where problem.batchIndices[t] != -1 {
      for head in 0..<problem.kvHeadCount {
        let target = AppendTarget(problem, arguments.cache, token: t, head: head)
        let k = source(arguments.keys, t, head)
        let v = source(arguments.values, t, head)
        let kRow = k.tensor.row(k.index)
        let vRow = v.tensor.row(v.index)
        let together = problem.isLatent ? kRow + vRow : kRow
        let kScale = scale(arguments.kScale, together, problem.cacheType, head, target)
        store(k, scale: kScale, to: target.k)
        if problem.isLatent && arguments.vScale == .one {
          store(v, scale: kScale, to: target.v)
        } else {
          let vScale = scale(arguments.vScale, vRow, problem.cacheType, head, target)
          store(v, scale: vScale, to: target.v)
        }
      }
    }
  }

  /// The scale of one row, nil for `.one`; a dynamic one is also written.
  private static func scale(
    _ scale: AppendScale, _ row: [Float], _ type: ElementType, _ head: Int, _ target: AppendTarget
  ) -> Float? {
    switch scale {
    case .one: return nil
    case .tensor(let value): return value
    case .head(let view): return HostTensor(view).float([head])
    case .dynamicTokenHead(let view):
      var amax: Float = 0
      for x in row where x.isFinite && x.magnitude > amax { amax = x.magnitude }
      let quotient = amax / type.greatestFiniteMagnitude
      let value = quotient >= .leastNormalMagnitude ? quotient : 1
      HostTensor(view).store(value, at: target.outer)
      return value
    }
  }

  private static func source(_ view: TensorView, _ t: Int, _ head: Int) -> AppendRow {
    AppendRow(tensor: HostTensor(view), index: view.shape.count == 2 ? [t] : [t, head], first: 0)
  }

  private static func store(_ row: AppendRow, scale: Float?, to destination: AppendRow) {
    let isCopy = scale == nil && row.tensor.view.scalarType == destination.tensor.view.scalarType
    for e in 0..<(row.tensor.shape.last ?? 0) {
      let from = row.index + [row.first + e]
      let to = destination.index + [destination.first + e]
      if isCopy {
        destination.tensor.copy(from: row.tensor, at: from, to: to)
      } else {
        destination.tensor.store(row.tensor.float(from) / (scale ?? 1), at: to)
      }
    }
  }
}

/// A row of a tensor, or the part of one from element `first` on.
private struct AppendRow {
  let tensor: HostTensor
  let index: [Int]
  let first: Int
}

/// Where one token and head goes in the cache.
private struct AppendTarget {
  /// Index of the row in a cache of separate K and V, and of its token-head scale.
  let outer: [Int]
  let k: AppendRow
  let v: AppendRow

  init(_ problem: AppendProblem, _ cache: KVOperand, token t: Int, head: Int) {
    let tokens = TokenIndex(geometry: .paged(problem.table), layout: problem.layout)
    let (r, j) = (Int(problem.batchIndices[t]), Int(problem.positions[t]))
    func latent(_ view: TensorView, first: Int) -> AppendRow {
      AppendRow(
        tensor: HostTensor(view),
        index: tokens.outerLatent(r, j, head: head, rank: view.shape.count), first: first)
    }
    outer = tokens.outer(r, j, head: head)
    switch cache {
    case .separate(let kView, let vView):
      k = AppendRow(tensor: HostTensor(kView), index: outer, first: 0)
      v = AppendRow(tensor: HostTensor(vView), index: outer, first: 0)
    case .combined(let view):
      let both = HostTensor(view)
      k = AppendRow(tensor: both, index: tokens.outer(r, j, head: head, part: 0), first: 0)
      v = AppendRow(tensor: both, index: tokens.outer(r, j, head: head, part: 1), first: 0)
    case .latent(let ckv, let kpe):
      k = latent(ckv, first: 0)
      v = latent(kpe, first: 0)
    case .packedLatent(let view):
      k = latent(view, first: 0)
      v = latent(view, first: problem.headDimK)
    }
  }
}
