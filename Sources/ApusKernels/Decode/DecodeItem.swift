internal import ApusDSL

/// What a block does for the query rows of one KV head (in heads mode: of one KV head per warp) and
/// one range of tokens, as the plan writes it and the kernel reads it: 16 words.
///
/// Steps count over all items of a block. The first item of block b is record b; the others follow
/// by `next`, so that the plan's size is that of its items.
struct DecodeItem: Hashable, Sendable {
  /// Steps of the block up to the end of this item.
  var end = 0
  /// Tokens from the item's first one on that the request has.
  var tokens = 0
  /// The first of the request's 16-token tiles.
  var firstTile = 0
  /// Where the request's page list begins; without pages, the row of its first token.
  var base = 0
  /// First KV head, and in the upper half the request's index along the outermost axis.
  var unit = 0
  /// Steps of all items of the block.
  var total = 0
  /// Record of the next item; this one if it is the last.
  var next = 0
  /// The request's first query row.
  var queryRow = 0
  /// Items that share the query rows of this one.
  var splits = 1
  /// Partial state of split 0.
  var slot = 0
  /// Which split this is.
  var split = 0
  /// Whether the block has no further item.
  var isLast = false
  /// Counts the splits that are done.
  var counter = 0
  /// The first of the rows (query · group + head in group).
  var firstRow = 0
  /// Rows, at most those of the kernel.
  var rowCount = 0
  /// First byte of the request's custom mask.
  var maskStart = 0
  /// Keys of the request.
  var kvLength = 0
  /// Query tokens of the request.
  var qoLength = 1

  static let wordCount = 16
  /// Bits of `next` in its word; the row count is above, so that half a record suffices to load
  /// queries, keys and values.
  static let nextBits = 26

  /// The record of a block that has nothing to do: no rows, no steps.
  static func idle(block: Int) -> DecodeItem {
    var item = DecodeItem()
    item.next = block
    item.isLast = true
    return item
  }

  /// Writes the record: `wordCount` words.
  func write(to words: UnsafeMutableBufferPointer<UInt32>) {
    func word(_ value: Int) -> UInt32 { UInt32(truncatingIfNeeded: value) }
    words[0] = word(end)
    words[1] = word(tokens)
    words[2] = word(firstTile)
    words[3] = word(base)
    words[4] = word(unit)
    words[5] = word(total)
    words[6] = word(next) | word(rowCount << Self.nextBits)
    words[7] = word(queryRow)
    words[8] = word(splits)
    words[9] = word(slot)
    words[10] = word(split) | (isLast ? 1 << 31 : 0)
    words[11] = word(counter)
    words[12] = word(firstRow)
    words[13] = word(maskStart)
    words[14] = word(kvLength)
    words[15] = word(qoLength)
  }
}

/// A record in registers.
struct DecodeItemValues {
  /// The words as they were read.
  let words: [Value<U32>]

  var end: Value<U32> { words[0] }
  var tokens: Value<U32> { words[1] }
  var firstTile: Value<U32> { words[2] }
  var base: Value<U32> { words[3] }
  var unit: Value<U32> { words[4] }
  var total: Value<U32> { words[5] }
  var next: Value<U32> { words[6] & ((1 << DecodeItem.nextBits) - 1) }
  var queryRow: Value<U32> { words[7] }
  var splits: Value<U32> { words[8] }
  var slot: Value<U32> { words[9] }
  var split: Value<U32> { words[10] & 0x7FFF_FFFF }
  var isLast: Value<Pred> { words[10] > 0x7FFF_FFFF }
  var counter: Value<U32> { words[11] }
  var firstRow: Value<U32> { words[12] }
  var rowCount: Value<U32> { words[6] >> DecodeItem.nextBits }
  var maskStart: Value<U32> { words[13] }
  var kvLength: Value<U32> { words[14] }
  var qoLength: Value<U32> { words[15] }

  init(words: [Value<U32>]) { self.words = words }

  /// Reads record `index`: all of it.
  init(_ items: GlobalPointer<U32>, _ index: Value<U32>, _ block: Block) {
    let record = items[index << 4]
    words = (0..<Self.wordCount / 4).flatMap {
      block.load(record[4 * $0], count: 4, Caching(isReadOnly: true))
    }
  }

  static var wordCount: Int { DecodeItem.wordCount }
}
