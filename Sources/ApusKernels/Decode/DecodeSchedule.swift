/// Which block does which steps of which rows: a pure function of counts.
///
/// A *row* is what cannot be divided over heads: the steps of one request and one unit (KV head, or
/// heads of a block, times row tiles). Rows divide over blocks at any step.
public struct DecodeSchedule: Sendable, Hashable {
  /// Steps of one row, in one block.
  public struct Piece: Sendable, Hashable {
    /// Index of the request.
    public var request: Int32
    /// Unit of the request.
    public var unit: Int32
    /// First step of the row.
    public var start: Int32
    /// One past its last step.
    public var end: Int32
    /// Which split of the row this is.
    public var split: Int32 = 0
    /// Pieces of the row.
    public var splits: Int32 = 1
    /// Partial state of the row's split 0.
    public var slot: Int32 = 0
    /// Counter of the row.
    public var counter: Int32 = 0

    /// Steps.
    public var count: Int { Int(end - start) }
  }

  /// All pieces, block after block, rows in order.
  public private(set) var pieces: [Piece] = []
  /// Where each block's pieces begin, and the end.
  public private(set) var blockOffsets: [Int] = [0]
  /// Partial states.
  public private(set) var slotCount = 0
  /// Rows with more than one piece.
  public private(set) var counterCount = 0

  /// Blocks with work.
  public var blockCount: Int { blockOffsets.count - 1 }

  /// A schedule.
  ///
  /// If pieces of equal length, one for each block, cost at most a tenth more than an even division
  /// of all steps, rows are cut so. Else blocks are filled in order of rows up to the smallest cost
  /// that fits `blocks`, found by bisection; a piece costs its steps and `overhead`.
  ///
  /// - Parameters:
  ///   - steps: of the rows of each request.
  ///   - units: rows of each request; a request with rows has a piece even without steps.
  ///   - blocks: at least 1.
  ///   - overhead: cost of a piece beside its steps.
  ///   - splitSteps: steps of each piece instead of the planner's choice; `Int.max` for no splits.
  public init(
    steps: [Int], units: [Int], blocks: Int, overhead: Int, splitSteps: Int? = nil
  ) {
    let blocks = max(blocks, 1)
    var total = 0
    var rows = 0
    for (steps, units) in zip(steps, units) {
      total += steps * units
      rows += units
    }
    guard rows > 0 else { return }
    if let splitSteps {
      fill(steps, units, fixed: max(1, splitSteps), total: total, blocks: blocks, overhead)
    } else if let piece = Self.evenPiece(steps, units, total: total, blocks: blocks) {
      for (request, count) in steps.enumerated() {
        let splits = max(1, (count + piece - 1) / piece)
        for unit in 0..<units[request] {
          for split in 0..<splits {
            append(request, unit, count * split / splits, count * (split + 1) / splits)
            close()
          }
        }
      }
    } else {
      let capacity = Self.capacity(
        steps, units, total: total, rows: rows, blocks: blocks, overhead: overhead)
      _ = Self.walk(steps, units, capacity: capacity, overhead: overhead) {
        isNew, request, unit, start, end in
        if isNew { close() }
        append(request, unit, start, end)
      }
      close()
    }
    number()
  }

  /// A schedule for clusters: `clusterSize` blocks for each row, steps divided evenly.
  public init(steps: [Int], units: [Int], clusterSize: Int) {
    for (request, count) in steps.enumerated() {
      for unit in 0..<units[request] {
        for split in 0..<clusterSize {
          append(
            request, unit, count * split / clusterSize, count * (split + 1) / clusterSize)
          close()
        }
      }
    }
  }

  // MARK: - Pieces of equal length

  /// Steps of a piece if rows cut into such pieces are at most `blocks` and little is lost.
  private static func evenPiece(
    _ steps: [Int], _ units: [Int], total: Int, blocks: Int
  ) -> Int? {
    let ideal = max(1, (total + blocks - 1) / blocks)
    func pieces(_ length: Int) -> Int {
      var count = 0
      for (steps, units) in zip(steps, units) {
        count += max(1, (steps + length - 1) / length) * units
        if count > blocks { return count }
      }
      return count
    }
    let longest = (ideal * 11 + 9) / 10
    return (ideal...max(ideal, longest)).first { pieces($0) <= blocks }
  }

  // MARK: - Blocks of equal cost

  private typealias Emit = (
    _ isNew: Bool, _ request: Int, _ unit: Int, _ start: Int, _ end: Int
  ) -> Void

  /// The smallest cost of a block with which all rows fit.
  private static func capacity(
    _ steps: [Int], _ units: [Int], total: Int, rows: Int, blocks: Int, overhead: Int
  ) -> Int {
    func blockCount(_ capacity: Int) -> Int {
      walk(steps, units, capacity: capacity, overhead: overhead, limit: blocks) { _, _, _, _, _ in }
    }
    var low = (total + rows * overhead) / blocks
    var high = low + low / 16 + 2 * overhead + 2
    while blockCount(high) > blocks {
      low = high + 1
      high += high / 4 + 1
    }
    while low < high {
      let middle = (low + high) / 2
      if blockCount(middle) <= blocks { high = middle } else { low = middle + 1 }
    }
    return high
  }

  /// Fills blocks in order; the result is how many, or more than `limit`.
  ///
  /// Pieces below 1/24 of a block are avoided, and a rest of 1/100 stays with its row.
  private static func walk(
    _ steps: [Int], _ units: [Int], capacity: Int, overhead: Int, limit: Int = .max,
    _ emit: Emit
  ) -> Int {
    let slack = capacity / 100
    let least = max(1, capacity / 24)
    var block = 0
    var used = 0
    for (request, count) in steps.enumerated() {
      for unit in 0..<units[request] {
        var start = 0
        repeat {
          let left = count - start
          var room = capacity - used - overhead
          var isNew = false
          if used > 0, room < min(left, least) {
            block += 1
            used = 0
            room = capacity - overhead
            isNew = true
          }
          let take =
            left <= room + slack ? left : max(1, min(room, left - min(least, left / 2)))
          emit(isNew, request, unit, start, start + take)
          start += take
          used += take + overhead
        } while start < count
        if block >= limit { return block + 1 }
      }
    }
    return block + 1
  }

  /// Pieces of a fixed length, whole pieces to blocks.
  private mutating func fill(
    _ steps: [Int], _ units: [Int], fixed: Int, total: Int, blocks: Int, _ overhead: Int
  ) {
    var pieceCount = 0
    var longest = 0
    for (steps, units) in zip(steps, units) {
      pieceCount += max(1, (steps - 1) / fixed + 1) * units
      longest = max(longest, min(steps, fixed))
    }
    // A block is full when it has its share; what is over goes to the last one.
    let share = max(longest + overhead, (total + pieceCount * overhead + blocks - 1) / blocks)
    var used = 0
    for (request, count) in steps.enumerated() {
      for unit in 0..<units[request] {
        var start = 0
        repeat {
          let end = count - start > fixed ? start + fixed : count
          let cost = end - start + overhead
          if used > 0, used + cost / 2 > share, blockCount < blocks - 1 {
            close()
            used = 0
          }
          append(request, unit, start, end)
          used += cost
          start = end
        } while start < count
      }
    }
    close()
  }

  // MARK: - Building

  private mutating func append(_ request: Int, _ unit: Int, _ start: Int, _ end: Int) {
    pieces.append(
      Piece(
        request: Int32(truncatingIfNeeded: request), unit: Int32(truncatingIfNeeded: unit),
        start: Int32(truncatingIfNeeded: start), end: Int32(truncatingIfNeeded: end)))
  }

  private mutating func close() {
    if pieces.count > blockOffsets[blockOffsets.count - 1] { blockOffsets.append(pieces.count) }
  }

  /// Numbers the splits of each row: pieces of a row follow each other.
  private mutating func number() {
    var first = 0
    while first < pieces.count {
      var end = first + 1
      while end < pieces.count, pieces[end].request == pieces[first].request,
        pieces[end].unit == pieces[first].unit
      { end += 1 }
      let splits = end - first
      if splits > 1 {
        for index in first..<end {
          pieces[index].split = Int32(truncatingIfNeeded: index - first)
          pieces[index].splits = Int32(truncatingIfNeeded: splits)
          pieces[index].slot = Int32(truncatingIfNeeded: slotCount)
          pieces[index].counter = Int32(truncatingIfNeeded: counterCount)
        }
        slotCount += splits
        counterCount += 1
      }
      first = end
    }
  }
}
