/// The most that a plan may be given later: a plan made with a capacity can be updated to any batch
/// within it, and a graph that captured its runs then replays with the new lists.
///
/// Its kernels, grids, addresses and arguments are those of the capacity and never change; an update
/// changes the contents of the plan's lists alone.
public struct PlanCapacity: Sendable, Hashable, CustomStringConvertible {
  /// Requests.
  public var batch: Int
  /// Query rows of each request; q, o and lse of every run have `batch · queriesPerRequest` rows.
  public var queriesPerRequest: Int
  /// Keys of each request.
  public var keysPerRequest: Int
  /// Of all requests together: with pages, the pages that are listed; of ragged keys, the rows of k
  /// and v. Nil for what `batch` requests of `keysPerRequest` keys take.
  public var keyRows: Int?
  /// Pages of the caches of every run: an update refuses greater indices. Nil leaves that unchecked.
  public var cachePages: Int?

  /// A capacity.
  public init(
    batch: Int, queriesPerRequest: Int = 1, keysPerRequest: Int, keyRows: Int? = nil,
    cachePages: Int? = nil
  ) {
    self.batch = batch
    self.queriesPerRequest = queriesPerRequest
    self.keysPerRequest = keysPerRequest
    self.keyRows = keyRows
    self.cachePages = cachePages
  }

  /// One line.
  public var description: String {
    var parts = [
      "batch \(batch)", "queries \(queriesPerRequest)", "keys \(keysPerRequest)",
    ]
    if let keyRows { parts.append("rows \(keyRows)") }
    if let cachePages { parts.append("cache \(cachePages) pages") }
    return "capacity(\(parts.joined(separator: ", ")))"
  }

  /// Query rows of all requests.
  public var queryRows: Int { batch * queriesPerRequest }

  /// Listed pages, or rows of ragged keys, of all requests together.
  ///
  /// - Precondition: the capacity is valid for the problem that the geometry belongs to.
  public func keyRows(of geometry: KVGeometry) -> Int {
    switch geometry {
    case .ragged: keyRows ?? batch * keysPerRequest
    case .padded: 0
    case .paged(let table):
      keyRows ?? batch * ((keysPerRequest + table.pageSize - 1) / table.pageSize)
    }
  }

  /// Keys of all requests together, at most.
  ///
  /// - Precondition: as `keyRows(of:)`.
  public func keyCount(of geometry: KVGeometry) -> Int {
    let full = batch * keysPerRequest
    switch geometry {
    case .ragged: return min(full, keyRows(of: geometry))
    case .padded: return full
    case .paged(let table):
      let (keys, overflow) = keyRows(of: geometry).multipliedReportingOverflow(by: table.pageSize)
      return overflow ? full : min(full, keys)
    }
  }
}

extension PlanCapacity {
  /// A problem of the capacity's size that lists nothing: what the tensors of every run are checked
  /// against, and what kernels' arguments are made of.
  ///
  /// - Precondition: as `keyRows(of:)`.
  public func envelope(of problem: AttentionProblem) -> AttentionProblem {
    var result = problem
    var offsets = [Int](repeating: queryRows, count: batch + 1)
    offsets[0] = 0
    result.qoIndptr = RaggedIndptr(offsets)
    switch problem.geometry {
    case .ragged:
      let rows = keyRows(of: problem.geometry)
      var offsets = [Int](repeating: rows, count: batch + 1)
      offsets[0] = 0
      result.geometry = .ragged(RaggedIndptr(offsets))
    case .padded(let maxLength, _):
      result.geometry = .padded(
        maxLength: maxLength, lengths: [Int](repeating: maxLength, count: batch))
    case .paged(let table):
      // The greatest index is all that a run asks of the lists.
      let listed = min(1, batch, cachePages ?? 0)
      var offsets = [Int](repeating: listed, count: batch + 1)
      offsets[0] = 0
      var last = [Int32](repeating: 0, count: batch)
      if listed == 1 { last[0] = 1 }
      result.geometry = .paged(
        PageTable(
          pageSize: table.pageSize, indptr: RaggedIndptr(offsets),
          indices: listed == 1 ? [Int32(truncatingIfNeeded: (cachePages ?? 1) - 1)] : [],
          lastPageLength: last))
    }
    return result
  }

  /// Checks the capacity itself, and that the problem is one that can be updated.
  ///
  /// - Throws: `ArgumentError` with every violation.
  public func validate(for problem: AttentionProblem, operation: String) throws(ArgumentError) {
    var validator = Validator(operation)
    let limit = Int(Int32.max)
    for (name, value, most) in [
      ("batch", batch, 1 << 16), ("queriesPerRequest", queriesPerRequest, limit),
      ("keysPerRequest", keysPerRequest, limit), ("keyRows", keyRows ?? 0, limit),
      ("cachePages", cachePages ?? 0, limit),
    ] {
      validator.require(
        (0...most).contains(value), "capacity.\(name) must be in 0…\(most)", found: "\(value)")
    }
    if validator.isClean {
      let rows = keyRows(of: problem.geometry)
      validator.require(
        rows <= limit, "the capacity must list at most \(limit) rows or pages", found: "\(rows)",
        remedy: "State keyRows.")
    }
    validator.require(
      problem.mask.custom == nil, "a plan with a capacity must have no custom mask",
      found: "a custom mask", remedy: "Plan each batch anew.")
    if case .padded(let maxLength, _) = problem.geometry {
      validator.require(
        keysPerRequest <= maxLength,
        "capacity.keysPerRequest must be at most maxLength, \(maxLength)",
        found: "\(keysPerRequest)")
    }
    try validator.finish()
  }

  /// Checks that a validated problem is `planned` with other lists, and within the capacity.
  ///
  /// - Throws: `ArgumentError` with every violation.
  public func validate(
    _ problem: AttentionProblem, updating planned: AttentionProblem, operation: String
  ) throws(ArgumentError) {
    var validator = Validator(operation)
    validator.requireSame(problem, planned)
    let geometry = problem.geometry
    validator.require(
      problem.batch <= batch, "the batch must be within the plan's capacity, \(batch)",
      found: "\(problem.batch)")
    validator.require(
      problem.qoIndptr.end <= queryRows,
      "qoIndptr must end within the capacity's \(queryRows) rows",
      found: "\(problem.qoIndptr.end)")
    let queries = problem.qoIndptr.lengths
    if let request = queries.firstIndex(where: { $0 > queriesPerRequest }) {
      validator.require(
        false, "query rows of a request must be within the capacity, \(queriesPerRequest)",
        found: "\(queries[request]) at request \(request)")
    }
    let keys = geometry.lengths
    if let request = keys.firstIndex(where: { $0 > keysPerRequest }) {
      validator.require(
        false, "keys of a request must be within the capacity, \(keysPerRequest)",
        found: "\(keys[request]) at request \(request)")
    }
    guard validator.isClean else { return try validator.finish() }
    let rows = keyRows(of: planned.geometry)
    switch geometry {
    case .ragged(let indptr):
      validator.require(
        indptr.end <= rows, "kvIndptr must end within the capacity's \(rows) rows",
        found: "\(indptr.end)")
    case .padded: break
    case .paged(let table):
      let listed = table.usedPageCount
      validator.require(
        listed <= rows, "the pages in use must be within the capacity, \(rows)", found: "\(listed)")
      if let cachePages {
        let greatest = table.greatestPage
        validator.require(
          greatest < cachePages, "page indices must be below the capacity's \(cachePages) pages",
          found: "\(greatest)")
      }
    }
    try validator.finish()
  }
}

extension Validator {
  /// Everything but lists must be the plan's.
  fileprivate mutating func requireSame(_ problem: AttentionProblem, _ planned: AttentionProblem) {
    func check(_ name: String, _ isSame: Bool, _ found: @autoclosure () -> String) {
      require(isSame, "\(name) must be the plan's: an update changes lists alone", found: found())
    }
    check("shape", problem.shape == planned.shape, "\(problem.shape)")
    check("types", problem.types == planned.types, "\(problem.types)")
    check("layout", problem.layout == planned.layout, "\(problem.layout)")
    check("latent", problem.latent == planned.latent, "\(problem.latent.map { "\($0)" } ?? "none")")
    check("mask", problem.mask == planned.mask, "\(problem.mask)")
    check(
      "modification", problem.modification == planned.modification, "\(problem.modification)")
    check(
      "lseConvention", problem.lseConvention == planned.lseConvention, "\(problem.lseConvention)")
    check("options", problem.options == planned.options, "\(problem.options)")
    let isSame =
      switch (problem.geometry, planned.geometry) {
      case (.ragged, .ragged): true
      case (.padded(let length, _), .padded(let plannedLength, _)): length == plannedLength
      case (.paged(let table), .paged(let plannedTable)): table.pageSize == plannedTable.pageSize
      default: false
      }
    check("the geometry's kind, page size and maxLength", isSame, "\(problem.geometry)")
  }
}
