public import ApusNumerics

/// Where new tokens go in a paged cache, without tensors.
///
/// Token `t` belongs to request `batchIndices[t]` at position `positions[t]`, that is slot
/// `positions[t] % pageSize` of that request's page `positions[t] / pageSize`. A batch index of −1
/// skips the token. The page table describes the cache after the append.
public struct AppendProblem: Sendable, Hashable {
  /// KV (or latent) heads.
  public var kvHeadCount: Int
  /// Width of k, and of the latent's ckv part.
  public var headDimK: Int
  /// Width of v, or of the latent's kpe part.
  public var headDimV: Int
  /// Whether the cache is an MLA latent cache.
  public var isLatent: Bool
  /// Type of the new tokens.
  public var sourceType: ElementType
  /// Type of the cache.
  public var cacheType: ElementType
  /// Order of tokens and heads in the cache.
  public var layout: KVLayout
  /// Pages of each request after the append.
  public var table: PageTable
  /// Request of each new token, −1 to skip it.
  public var batchIndices: [Int32]
  /// Position of each new token within its request.
  public var positions: [Int32]
  /// Lists in the memory of the back end instead of `table`, `batchIndices` and `positions`, which then
  /// are empty.
  public var lists: AppendLists?

  /// K/V append.
  public init(
    kvHeadCount: Int, headDimK: Int, headDimV: Int? = nil, sourceType: ElementType,
    cacheType: ElementType, layout: KVLayout = .nhd, table: PageTable, batchIndices: [Int32],
    positions: [Int32]
  ) {
    self.kvHeadCount = kvHeadCount
    self.headDimK = headDimK
    self.headDimV = headDimV ?? headDimK
    self.isLatent = false
    self.sourceType = sourceType
    self.cacheType = cacheType
    self.layout = layout
    self.table = table
    self.batchIndices = batchIndices
    self.positions = positions
  }

  /// MLA append: rows of ckv and kpe.
  public init(
    latent: LatentShape, latentHeadCount: Int = 1, sourceType: ElementType,
    cacheType: ElementType, layout: KVLayout = .nhd, table: PageTable, batchIndices: [Int32],
    positions: [Int32]
  ) {
    self.init(
      kvHeadCount: latentHeadCount, headDimK: latent.ckv, headDimV: latent.kpe,
      sourceType: sourceType, cacheType: cacheType, layout: layout, table: table,
      batchIndices: batchIndices, positions: positions)
    self.isLatent = true
  }

  /// New tokens, skipped ones included.
  public var tokenCount: Int { lists?.batchIndices.shape.first ?? batchIndices.count }

  /// Request and position of each token of a batch that appends `appendIndptr`'s rows at the end of
  /// requests whose lengths after the append are `lengths`.
  public static func indicesAndPositions(
    appendIndptr: RaggedIndptr, lengths: [Int]
  ) throws(ArgumentError) -> (batchIndices: [Int32], positions: [Int32]) {
    var validator = Validator("AppendProblem.indicesAndPositions")
    if validator.requireIndptr("appendIndptr", appendIndptr),
      validator.require(
        lengths.count == appendIndptr.batch, "lengths must hold one value per request",
        found: "\(lengths.count) for batch \(appendIndptr.batch)")
    {
      for r in 0..<appendIndptr.batch {
        validator.require(
          lengths[r] >= appendIndptr.length(r) && lengths[r] <= Int(Int32.max),
          "lengths after the append must hold the appended rows and fit 31 bits",
          found: "\(lengths[r]) for \(appendIndptr.length(r)) rows at request \(r)")
      }
    }
    try validator.finish()
    var batchIndices: [Int32] = []
    var positions: [Int32] = []
    for r in 0..<appendIndptr.batch {
      let count = appendIndptr.length(r)
      for i in 0..<count {
        batchIndices.append(Int32(r))
        positions.append(Int32(lengths[r] - count + i))
      }
    }
    return (batchIndices, positions)
  }
}

/// Scale of what an append stores.
public enum AppendScale: Sendable, Hashable {
  /// Stored as it is: bits are copied between equal types, values rounded and saturated otherwise.
  case one
  /// Divided by one value.
  case tensor(Float)
  /// Divided by one f32 value per head, `[kvHead]`.
  case head(TensorView)
  /// Each token and head gets its own scale `amax / greatestFiniteMagnitude` of the cache type, with
  /// amax over the finite elements (1 where that would not be a normal number, as in a row of zeros).
  /// It is written to this f32 tensor (the cache's shape without its last dimension) and divides the
  /// row.
  case dynamicTokenHead(TensorView)
}

/// The tensors of one append.
public struct AppendArguments: Sendable, Hashable {
  /// New keys `[tokens, kvHead, headDimK]`, or ckv rows (head dimension optional for one head).
  public var keys: TensorView
  /// New values `[tokens, kvHead, headDimV]`, or kpe rows.
  public var values: TensorView
  /// The cache, paged: separate or combined for K/V, latent or packed latent for MLA.
  public var cache: KVOperand
  /// Scale of k, or of the whole latent row.
  public var kScale: AppendScale
  /// Scale of v; for MLA the scale of kpe where it differs (`.one` means "as k"), per tensor or head.
  public var vScale: AppendScale

  /// Unscaled by default.
  public init(
    keys: TensorView, values: TensorView, cache: KVOperand, kScale: AppendScale = .one,
    vScale: AppendScale = .one
  ) {
    self.keys = keys
    self.values = values
    self.cache = cache
    self.kScale = kScale
    self.vScale = vScale
  }
}

/// The two destinations of an append as plain strided tensors `[pages, …, dim]` in the layout's order.
public struct AppendDestinations: Sendable {
  /// Destination of keys (ckv).
  public let keys: TensorView
  /// Destination of values (kpe); nil when kpe has no width.
  public let values: TensorView?
}

extension AppendProblem {
  /// Checks lists and tensors and resolves where the rows go.
  ///
  /// - Throws: `ArgumentError` with every violation; nothing has been written.
  public func resolve(
    _ arguments: AppendArguments, memory: MemorySpace, operation: String
  ) throws(ArgumentError) -> AppendDestinations {
    var validator = Validator(operation)
    validator.require(
      (1...65_536).contains(kvHeadCount), "kvHeadCount must be in 1…65536", found: "\(kvHeadCount)")
    let widths = validator.require(
      (1...576).contains(headDimK) && (isLatent ? 0...576 : 1...576).contains(headDimV),
      "row widths must be in 1…576\(isLatent ? " (kpe: 0…576)" : "")",
      found: "\(headDimK) and \(headDimV)")
    // −1, below every page count, when the lists cannot be followed.
    var greatestPage = -1
    if let lists {
      lists.check(memory, &validator)
      validator.require(
        lists.pageSize == table.pageSize && batchIndices.isEmpty && positions.isEmpty,
        "lists must be tensors or values", found: "both")
    } else if validator.requirePageTable(table) {
      greatestPage = table.greatestPage
      checkTargets(&validator)
    }
    func requirePages(_ name: String, _ view: TensorView) {
      let pages = Swift.max(view.shape.first ?? 0, 0)
      validator.require(
        greatestPage < pages, "page indices must be below the page count of \(name)",
        found: "index \(greatestPage) of \(pages) pages")
    }
    let outer = KVGeometry.paged(table).outerShape(layout: layout, heads: kvHeadCount)
    let cacheTypes = [ScalarType(cacheType)]
    var destinations: (keys: TensorView, values: TensorView?)?
    switch (arguments.cache, isLatent) {
    case (.separate(let k, let v), false):
      validator.requireTensor("k cache", k, cacheTypes, shape: outer + [headDimK], isOutput: true)
      validator.requireTensor("v cache", v, cacheTypes, shape: outer + [headDimV], isOutput: true)
      requirePages("k cache", k)
      requirePages("v cache", v)
      destinations = (k, v)
    case (.combined(let kv), false):
      let expected = [nil, 2] + outer.dropFirst() + [headDimK]
      if validator.requireTensor("kv cache", kv, cacheTypes, shape: expected, isOutput: true) {
        destinations = (kv.selecting(0, axis: 1), kv.selecting(1, axis: 1))
      }
      requirePages("kv cache", kv)
      validator.require(
        headDimK == headDimV, "a combined cache must have equal widths of k and v",
        found: "\(headDimK) and \(headDimV)")
    case (.latent(let ckv, let kpe), true):
      let full = [ckv, kpe].map {
        KVGeometry.paged(table).insertingHead($0, layout: layout, heads: kvHeadCount)
      }
      validator.requireTensor(
        "ckv cache", full[0], cacheTypes, shape: outer + [headDimK], isOutput: true)
      validator.requireTensor(
        "kpe cache", full[1], cacheTypes, shape: outer + [headDimV], isOutput: true)
      requirePages("ckv cache", full[0])
      requirePages("kpe cache", full[1])
      destinations = (full[0], full[1])
    case (.packedLatent(let packed), true):
      let full = KVGeometry.paged(table).insertingHead(
        packed, layout: layout, heads: kvHeadCount)
      requirePages("latent cache", full)
      if widths,
        validator.requireTensor(
          "latent cache", full, cacheTypes, shape: outer + [headDimK + headDimV], isOutput: true)
      {
        destinations = (
          full.narrowingLast(0..<headDimK), full.narrowingLast(headDimK..<headDimK + headDimV)
        )
      }
    default:
      validator.require(
        false, "the cache must be \(isLatent ? "latent" : "separate or combined")",
        found: "another kind")
    }
    for case (let name, .dynamicTokenHead(let view)) in [
      ("kScale", arguments.kScale), ("vScale", arguments.vScale),
    ] {
      requirePages(name, view)
    }
    checkSources(arguments, outer, memory, &validator)
    try validator.finish()
    guard let destinations else {
      throw ArgumentError(operation: operation, "the cache must be usable", found: "no tensor")
    }
    return AppendDestinations(
      keys: destinations.keys, values: headDimV == 0 ? nil : destinations.values)
  }

  /// The cache page and slot of token `t`, or nil when it is skipped. Valid after `resolve`, for lists
  /// of Swift.
  public func target(_ t: Int) -> (page: Int, slot: Int)? {
    let request = Int(batchIndices[t])
    guard request >= 0 else { return nil }
    let position = Int(positions[t])
    return (table.page(request, position / table.pageSize), position % table.pageSize)
  }

  private func checkTargets(_ validator: inout Validator) {
    guard
      validator.require(
        positions.count == batchIndices.count, "positions must hold one value per token",
        found: "\(positions.count) for \(batchIndices.count) tokens")
    else { return }
    var seen = Set<Int>()
    for t in 0..<tokenCount where batchIndices[t] != -1 {
      let request = Int(batchIndices[t])
      guard
        validator.require(
          (0..<table.batch).contains(request),
          "batchIndices must be -1 or in 0..<\(table.batch) (batch)",
          found: "\(request) at token \(t)")
      else { return }
      let position = Int(positions[t])
      guard
        validator.require(
          (0..<table.length(request)).contains(position),
          "positions must be within the request's length after the append",
          found: "\(position) of \(table.length(request)) at token \(t)")
      else { return }
      guard let (page, slot) = target(t) else { continue }
      guard
        validator.require(
          seen.insert(page * table.pageSize + slot).inserted,
          "each cache slot must be written at most once",
          found: "page \(page), slot \(slot) again at token \(t)")
      else { return }
    }
  }

  private func checkSources(
    _ arguments: AppendArguments, _ outer: [Int?], _ memory: MemorySpace,
    _ validator: inout Validator
  ) {
    let types = [ScalarType(sourceType)]
    let keys = arguments.keys.insertingMiddleHead(kvHeadCount)
    let values = arguments.values.insertingMiddleHead(kvHeadCount)
    validator.requireTensor("keys", keys, types, shape: [tokenCount, kvHeadCount, headDimK])
    validator.requireTensor("values", values, types, shape: [tokenCount, kvHeadCount, headDimV])
    for (name, scale) in [("kScale", arguments.kScale), ("vScale", arguments.vScale)] {
      switch scale {
      case .one: break
      case .tensor(let value):
        validator.requireScale(name, .tensor(value), headCount: kvHeadCount, tokenShape: nil)
      case .head(let view):
        validator.requireScale(name, .head(view), headCount: kvHeadCount, tokenShape: nil)
        validator.require(
          view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
      case .dynamicTokenHead(let view):
        if isLatent && name == "vScale" {
          validator.require(
            false, "vScale of a latent must be one, per tensor or per head", found: "token-head",
            remedy: "A token-head kScale covers the whole latent row.")
        }
        validator.requireTensor(
          name, view, [.f32], shape: outer, isOutput: true, innermostContiguous: false)
        validator.require(
          view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
      }
    }
    if isLatent, case .dynamicTokenHead = arguments.kScale {
      validator.require(
        arguments.vScale == .one, "vScale must be one beside a token-head kScale",
        found: "\(arguments.vScale)")
    }
    for (name, view) in arguments.namedTensors {
      validator.require(
        view.memory == memory, "\(name) must live in \(memory) memory", found: "\(view.memory)")
    }
  }
}

extension AppendArguments {
  fileprivate var namedTensors: [(String, TensorView)] {
    let cacheTensors: [(String, TensorView)] =
      switch cache {
      case .separate(let k, let v): [("k cache", k), ("v cache", v)]
      case .combined(let kv): [("kv cache", kv)]
      case .latent(let ckv, let kpe): [("ckv cache", ckv), ("kpe cache", kpe)]
      case .packedLatent(let packed): [("latent cache", packed)]
      }
    return [("keys", keys), ("values", values)] + cacheTensors
  }
}

extension TensorView {
  /// `[tokens, dim]` read as `[tokens, 1, dim]` when there is one head.
  public func insertingMiddleHead(_ heads: Int) -> TensorView {
    guard heads == 1, shape.count == 2, strides.count == 2 else { return self }
    return TensorView(
      address: address, byteCount: byteCount, scalarType: scalarType,
      shape: [shape[0], 1, shape[1]], strides: [strides[0], 0, strides[1]], memory: memory)
  }

  /// The sub-view of a range of the innermost dimension of a validated view.
  public func narrowingLast(_ range: Range<Int>) -> TensorView {
    var shape = shape
    let stride = strides.last ?? 1
    if !shape.isEmpty { shape[shape.count - 1] = range.count }
    // Without elements nothing bounds the stride: the product could overflow.
    let skip = shape.contains(0) ? 0 : range.lowerBound * stride * scalarType.byteCount
    return TensorView(
      address: address &+ UInt(bitPattern: skip), byteCount: Swift.max(byteCount - skip, 0),
      scalarType: scalarType, shape: shape, strides: strides, memory: memory)
  }
}
