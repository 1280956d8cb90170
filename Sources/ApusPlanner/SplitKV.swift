public import ApusCore

/// Sizes that cut a problem into work tiles.
public struct TilingPolicy: Sendable, Hashable, CustomStringConvertible {
  /// Most packed rows of a tile.
  public var tileRows: Int
  /// Keys of a split when a request has few packed rows (decode).
  public var decodeSplit: Int
  /// Keys of a split when it has many (prefill).
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
    return options.splitSize ?? (rows <= decodeRows ? decodeSplit : prefillSplit)
  }

  /// One line.
  public var description: String {
    "tiling(rows \(tileRows), split \(decodeSplit)/\(prefillSplit) from \(decodeRows) rows)"
  }
}

/// The work list of one problem: tiles, and the merges that follow them.
public struct AttentionSchedule: Sendable, Hashable {
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
  /// - Throws: `ArgumentError` when the work list or workspace would overflow.
  public init(
    _ problem: AttentionProblem, policy: TilingPolicy, operation: String
  ) throws(ArgumentError) {
    let group = problem.shape.groupSize
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
      let starts = Array(stride(from: 0, to: rows, by: policy.tileRows).reversed())
      for kvHead in 0..<problem.shape.kvHeadCount {
        for start in starts {
          let end = min(start + policy.tileRows, rows)
          let queries = (start / group)..<((end - 1) / group + 1)
          let keys = problem.mask.keyRange(
            queries: queries, qoLength: qoLength, kvLength: kvLength)
          try append(
            request: r, kvHead: kvHead, rows: start..<end, keys: keys, split: split,
            headDimVO: problem.shape.headDimVO, operation: operation)
        }
      }
    }
  }

  private mutating func append(
    request: Int, kvHead: Int, rows: Range<Int>, keys: Range<Int>, split: Int, headDimVO: Int,
    operation: String
  ) throws(ArgumentError) {
    var tile = WorkTile(
      request: Int32(request), kvHead: Int32(kvHead), rowStart: Int32(rows.lowerBound),
      rowEnd: Int32(rows.upperBound), keyStart: Int32(keys.lowerBound),
      keyEnd: Int32(keys.upperBound), partial: -1)
    let first = keys.lowerBound / split
    let last = keys.isEmpty ? first : (keys.upperBound - 1) / split
    if first == last {
      tiles.append(tile)
      return
    }
    let firstPartial = partialOffsets.count - 1
    let (partialEnd, overflow) = firstPartial.addingReportingOverflow(last - first + 1)
    guard !overflow, partialEnd <= Int(Int32.max) else {
      throw ArgumentError(
        operation: operation, "the number of splits must fit 31 bits", found: "\(last - first + 1)",
        remedy: "Choose a larger splitSize.")
    }
    for index in first...last {
      tile.keyStart = Int32(max(index * split, keys.lowerBound))
      tile.keyEnd = Int32(index == last ? keys.upperBound : (index + 1) * split)
      tile.partial = Int32(partialOffsets.count - 1)
      tiles.append(tile)
      partialOffsets.append(workspaceFloatCount + rows.count * (headDimVO + 2))
    }
    merges.append(
      MergeGroup(
        request: Int32(request), kvHead: Int32(kvHead), rowStart: Int32(rows.lowerBound),
        rowEnd: Int32(rows.upperBound), firstPartial: Int32(firstPartial),
        partialCount: Int32(last - first + 1)))
  }
}

extension AttentionSchedule: CustomStringConvertible {
  /// One line with counts.
  public var description: String {
    "\(tiles.count) tiles, \(merges.count) merges, \(workspaceFloatCount * 4) workspace bytes"
  }
}
