public import ApusCore

/// Sizes that cut a problem into work tiles.
public struct TilingPolicy: Sendable, Hashable, CustomStringConvertible {
  /// Most packed rows of a tile.
  public var tileRows: Int
  /// Keys of a split when a request has few packed rows (decode).
  public var decodeSplit: Int
  /// Keys of a split when it has many (prefill), per row tile of the request: with more tiles there
  /// is work enough without splits, and partial states take no more room than those of one tile.
  public var prefillSplit: Int
  /// Packed rows up to which a request counts as decode.
  public var decodeRows: Int

  /// A policy from its four sizes, each at least 1.
  public init(
    tileRows: Int = 64, decodeSplit: Int = 1024, prefillSplit: Int = 4096, decodeRows: Int = 16
  ) {
    self.tileRows = max(tileRows, 1)
    self.decodeSplit = max(decodeSplit, 1)
    self.prefillSplit = max(prefillSplit, 1)
    self.decodeRows = max(decodeRows, 0)
  }

  /// Keys per split of a request with `rows` packed rows. It depends on the request alone, so that a
  /// request's bits depend neither on its neighbours nor on the number of threads.
  public func splitSize(rows: Int, options: ExecutionOptions) -> Int {
    if options.disablesSplitKV { return Int.max }
    if let splitSize = options.splitSize { return splitSize }
    if rows <= decodeRows { return decodeSplit }
    let rowTiles = (rows - 1) / tileRows + 1
    let (size, overflow) = prefillSplit.multipliedReportingOverflow(by: rowTiles)
    return overflow ? Int.max : size
  }

  /// One line.
  public var description: String {
    "tiling(rows \(tileRows), split \(decodeSplit)/\(prefillSplit) from \(decodeRows) rows)"
  }
}

/// The work list of one problem: tiles, and the merges that follow them.
public struct AttentionSchedule: Sendable, Hashable {
  /// Most tiles of a schedule: half a gigabyte of work list.
  public static let tileLimit = 1 << 24

  /// All tiles; any order of execution gives the same bits.
  public private(set) var tiles: [WorkTile] = []
  /// Merges, to run after every tile.
  public private(set) var merges: [MergeGroup] = []
  /// First float of each partial in the workspace, and the total as last entry.
  public private(set) var partialOffsets: [Int] = [0]

  /// Floats of all partial states: per row m, l and the unnormalised o.
  public var workspaceFloatCount: Int { partialOffsets[partialOffsets.count - 1] }

  /// Cuts a validated problem by a policy. Split boundaries are multiples of the split size, so they
  /// stay where they are while a context grows.
  ///
  /// - Throws: `ArgumentError` when the work list would exceed `tileLimit`.
  public init(
    _ problem: AttentionProblem, policy: TilingPolicy, operation: String
  ) throws(ArgumentError) {
    let group = problem.shape.groupSize
    tiles.reserveCapacity(Self.mostTiles(problem, policy))
    for r in 0..<problem.batch {
      let qoLength = problem.qoLength(r)
      let kvLength = problem.kvLength(r)
      let (rows, overflow) = qoLength.multipliedReportingOverflow(by: group)
      guard !overflow, rows <= Int(Int32.max) else {
        throw ArgumentError(
          operation: operation, "qoLength × groupSize must fit 31 bits",
          found: "\(qoLength) × \(group) at request \(r)", remedy: "Append in several calls.")
      }
      let split = policy.splitSize(rows: rows, options: problem.options)
      // Longest rows first: with a causal mask the last rows see the most keys.
      let rowTiles = rows / policy.tileRows + (rows % policy.tileRows == 0 ? 0 : 1)
      try requireRoom(
        for: rowTiles * problem.shape.kvHeadCount, request: r, split: split, operation: operation)
      // One row tile (decode): all heads of a split follow each other, because in NHD they share
      // pages. Several (prefill): all rows of a head follow each other and find its keys in the cache.
      let heads = 0..<problem.shape.kvHeadCount
      let headGroups = rows <= policy.tileRows ? [heads] : heads.map { $0..<$0 + 1 }
      for headGroup in headGroups {
        for rowTile in (0..<rowTiles).reversed() {
          let start = rowTile * policy.tileRows
          let end = min(start + policy.tileRows, rows)
          let queries = (start / group)..<((end - 1) / group + 1)
          let keys = problem.mask.keyRange(
            queries: queries, qoLength: qoLength, kvLength: kvLength)
          try append(
            request: r, kvHeads: headGroup, rows: start..<end, keys: keys, split: split,
            headDimVO: problem.shape.headDimVO, operation: operation)
        }
      }
    }
  }

  /// Tiles if every row sees every key, at most the limit: growing a list of millions costs more than
  /// filling it, and room that is not used is not touched.
  private static func mostTiles(_ problem: AttentionProblem, _ policy: TilingPolicy) -> Int {
    var count = 0.0
    for r in 0..<problem.batch {
      let rows = problem.qoLength(r).multipliedReportingOverflow(by: problem.shape.groupSize)
      if rows.overflow { break }
      let split = policy.splitSize(rows: rows.partialValue, options: problem.options)
      count +=
        (Double(rows.partialValue) / Double(policy.tileRows)).rounded(.up)
        * Double(problem.shape.kvHeadCount)
        * max(1, (Double(problem.kvLength(r)) / Double(split)).rounded(.up))
    }
    return Int(min(count, Double(tileLimit)))
  }

  private func requireRoom(
    for count: Int, request: Int, split: Int, operation: String
  ) throws(ArgumentError) {
    guard count <= Self.tileLimit - tiles.count else {
      throw ArgumentError(
        operation: operation, "the work list must hold at most \(Self.tileLimit) tiles",
        found: "\(tiles.count) and \(count) more at request \(request) in splits of \(split) keys",
        remedy: "Pass fewer requests or rows at a time, or choose a larger splitSize.")
    }
  }

  private mutating func append(
    request: Int, kvHeads: Range<Int>, rows: Range<Int>, keys: Range<Int>, split: Int,
    headDimVO: Int, operation: String
  ) throws(ArgumentError) {
    let first = keys.lowerBound / split
    let last = keys.isEmpty ? first : (keys.upperBound - 1) / split
    let splits = last - first + 1
    let firstPartial = partialOffsets.count - 1
    // Keys fit 31 bits and heads 17: no overflow, nor above with rows that fit 31.
    try requireRoom(
      for: splits * kvHeads.count, request: request, split: split, operation: operation)
    for index in first...last {
      for kvHead in kvHeads {
        let partial = firstPartial + (kvHead - kvHeads.lowerBound) * splits + index - first
        let end = index == last ? keys.upperBound : (index + 1) * split
        tiles.append(
          WorkTile(
            request: Int32(request), kvHead: Int32(kvHead), rowStart: Int32(rows.lowerBound),
            rowEnd: Int32(rows.upperBound), keyStart: Int32(max(index * split, keys.lowerBound)),
            keyEnd: Int32(end), partial: splits == 1 ? -1 : Int32(partial)))
      }
    }
    guard splits > 1 else { return }
    let size = rows.count * (headDimVO + 2)
    for kvHead in kvHeads {
      merges.append(
        MergeGroup(
          request: Int32(request), kvHead: Int32(kvHead), rowStart: Int32(rows.lowerBound),
          rowEnd: Int32(rows.upperBound),
          firstPartial: Int32(firstPartial + (kvHead - kvHeads.lowerBound) * splits),
          partialCount: Int32(splits)))
      for _ in 0..<splits { partialOffsets.append(workspaceFloatCount + size) }
    }
  }
}

extension AttentionSchedule: CustomStringConvertible {
  /// One line with counts.
  public var description: String {
    "\(tiles.count) tiles, \(merges.count) merges, \(workspaceFloatCount * 4) workspace bytes"
  }
}
