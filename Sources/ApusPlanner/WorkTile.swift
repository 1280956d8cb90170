/// One indivisible piece of attention: some query rows of one KV head against a range of keys.
///
/// Rows are packed so that the query heads of a KV head are neighbours (GQA packing): packed row
/// `p` of request `r` is query `p / groupSize`, head `kvHead · groupSize + p % groupSize`. One pass
/// over a key serves the whole group.
public struct WorkTile: Sendable, Hashable, CustomStringConvertible {
  /// Request of the batch.
  public var request: Int32
  /// KV head.
  public var kvHead: Int32
  /// First packed row.
  public var rowStart: Int32
  /// One past the last packed row.
  public var rowEnd: Int32
  /// First key.
  public var keyStart: Int32
  /// One past the last key; equal to `keyStart` when the rows see nothing.
  public var keyEnd: Int32
  /// Index of the partial state that the tile writes, or −1 when it writes o and lse itself.
  public var partial: Int32

  /// Packed rows.
  public var rows: Range<Int> { Int(rowStart)..<Int(rowEnd) }
  /// Keys.
  public var keys: Range<Int> { Int(keyStart)..<Int(keyEnd) }
  /// True when the tile writes final results.
  public var isFinal: Bool { partial < 0 }

  /// One line.
  public var description: String {
    "tile(request \(request), kvHead \(kvHead), rows \(rows), keys \(keys)"
      + (isFinal ? ")" : ", partial \(partial))")
  }
}

/// The partial states of one row tile, to be merged in order once all are written.
public struct MergeGroup: Sendable, Hashable {
  /// Request of the batch.
  public var request: Int32
  /// KV head.
  public var kvHead: Int32
  /// First packed row.
  public var rowStart: Int32
  /// One past the last packed row.
  public var rowEnd: Int32
  /// First partial.
  public var firstPartial: Int32
  /// Number of partials, at least 2.
  public var partialCount: Int32

  /// Packed rows.
  public var rows: Range<Int> { Int(rowStart)..<Int(rowEnd) }
}
