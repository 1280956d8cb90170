package import ApusCore
internal import ApusNumerics
internal import CApusSIMD

extension CPUEngine {
  /// Writes validated new tokens into a cache: `stored = round(value / scale)` with the quotient
  /// rounded to f32 first, saturating in types narrower than f32. Without a scale and with equal
  /// types the bits are copied.
  package func append(
    _ problem: AppendProblem, _ arguments: AppendArguments, destinations: AppendDestinations
  ) {
    let keys = arguments.keys.insertingMiddleHead(problem.kvHeadCount)
    let values = arguments.values.insertingMiddleHead(problem.kvHeadCount)
    let widest = problem.headDimK + problem.headDimV
    let isParallel = problem.tokenCount * problem.kvHeadCount * widest > 100_000
    threads.forEach(problem.tokenCount, parallel: isParallel) { [self] token, _ in
      guard let (page, slot) = problem.target(token) else { return }
      withUnsafeTemporaryAllocation(of: Float.self, capacity: widest) { buffer in
        guard let row = buffer.baseAddress else { return }
        for head in 0..<problem.kvHeadCount {
          let place = RowPlace(token: token, head: head, page: page, slot: slot)
          if case .dynamicTokenHead = arguments.kScale, problem.isLatent {
            appendLatentRow(problem, arguments, keys, values, destinations, place, row)
            continue
          }
          write(
            keys, destinations.keys, problem.headDimK, arguments.kScale, problem, place, row)
          guard let target = destinations.values else { continue }
          let isLikeKeys = problem.isLatent && arguments.vScale == .one
          write(
            values, target, problem.headDimV, isLikeKeys ? arguments.kScale : arguments.vScale,
            problem, place, row)
        }
      }
    }
  }

  /// One row of k, v, ckv or kpe under its own scale.
  private func write(
    _ source: TensorView, _ cache: TensorView, _ dim: Int, _ scale: AppendScale,
    _ problem: AppendProblem, _ place: RowPlace, _ row: UnsafeMutablePointer<Float>
  ) {
    if scale == .one && problem.sourceType == problem.cacheType {
      copy(source, place, cache, problem, dim)
      return
    }
    load(source, place, row, dim)
    scaleRow(row, dim, scale, problem, place)
    store(row, cache, problem, place, dim)
  }

  private func copy(
    _ source: TensorView, _ place: RowPlace, _ cache: TensorView, _ problem: AppendProblem,
    _ dim: Int
  ) {
    guard let from = source.hostPointer, let to = cache.mutableHostPointer else { return }
    let bytes = problem.cacheType.byteCount
    let offset = place.token * source.strides[0] + place.head * source.strides[1]
    (to + place.offset(cache, problem.layout) * bytes).copyMemory(
      from: from + offset * bytes, byteCount: dim * bytes)
  }

  /// A token-head scale covers the whole latent row, ckv and kpe.
  private func appendLatentRow(
    _ problem: AppendProblem, _ arguments: AppendArguments, _ keys: TensorView,
    _ values: TensorView, _ destinations: AppendDestinations, _ place: RowPlace,
    _ row: UnsafeMutablePointer<Float>
  ) {
    let (ckv, kpe) = (problem.headDimK, problem.headDimV)
    load(keys, place, row, ckv)
    load(values, place, row + ckv, kpe)
    scaleRow(row, ckv + kpe, arguments.kScale, problem, place)
    store(row, destinations.keys, problem, place, ckv)
    if let target = destinations.values { store(row + ckv, target, problem, place, kpe) }
  }

  private func load(
    _ source: TensorView, _ place: RowPlace, _ row: UnsafeMutablePointer<Float>, _ dim: Int
  ) {
    guard let base = source.hostPointer, let type = source.elementType else { return }
    let offset = place.token * source.strides[0] + place.head * source.strides[1]
    kernels.widen(type)(base + offset * type.byteCount, row, dim)
  }

  private func scaleRow(
    _ row: UnsafeMutablePointer<Float>, _ dim: Int, _ scale: AppendScale, _ problem: AppendProblem,
    _ place: RowPlace
  ) {
    let divisor: Float
    switch scale {
    case .one: return
    case .tensor(let value): divisor = value
    case .head(let view): divisor = view.hostFloat(at: place.head) ?? 1
    case .dynamicTokenHead(let view):
      divisor = Self.dynamicScale(row, dim, problem.cacheType)
      let offset = place.offset(view, problem.layout) * 4
      view.mutableHostPointer?.storeBytes(of: divisor, toByteOffset: offset, as: Float.self)
    }
    for column in 0..<dim { row[column] /= divisor }
  }

  /// `amax / greatestFiniteMagnitude` over the finite values, 1 when that is below the least normal
  /// f32 (zero included).
  static func dynamicScale(
    _ row: UnsafePointer<Float>, _ dim: Int, _ cacheType: ElementType
  ) -> Float {
    var greatest: Float = 0
    for column in 0..<dim where row[column].isFinite {
      greatest = max(greatest, row[column].magnitude)
    }
    let scale = greatest / cacheType.greatestFiniteMagnitude
    return scale >= .leastNormalMagnitude ? scale : 1
  }

  private func store(
    _ row: UnsafePointer<Float>, _ cache: TensorView, _ problem: AppendProblem, _ place: RowPlace,
    _ dim: Int
  ) {
    guard let base = cache.mutableHostPointer else { return }
    let offset = place.offset(cache, problem.layout) * problem.cacheType.byteCount
    kernels.narrow(problem.cacheType)(row, base + offset, dim, problem.cacheType.saturates)
  }
}

/// One token's row of one head: where it comes from and where it goes.
private struct RowPlace {
  let token: Int
  let head: Int
  let page: Int
  let slot: Int

  /// Offset in elements of the row in a paged tensor `[pages, slot and head in layout order, …]`.
  func offset(_ view: TensorView, _ layout: KVLayout) -> Int {
    let (tokenAxis, headAxis) = layout == .nhd ? (1, 2) : (2, 1)
    return page * view.strides[0] + slot * view.strides[tokenAxis] + head * view.strides[headAxis]
  }
}
