internal import ApusCore
internal import ApusDSL
internal import ApusIR

/// Follows lists of an append that may hold anything: no value is used as an index before it is known
/// to be within what it indexes, and a bad one is written to a record (`IndexError`).
struct AppendIndexCheck {
  private let block: Block
  /// Requests, entries of the list of pages (of a row of a block table), pages of the cache, and what
  /// the launch's first token is in its call.
  private let requests, entries, cachePages, firstToken: Value<U32>
  private let record: GlobalPointer<U32>
  private let list, value, page: Variable<U32>

  init(_ block: Block) {
    self.block = block
    requests = block.parameter("requests", U32.self)
    entries = block.parameter("entries", U32.self)
    cachePages = block.parameter("cachePages", U32.self)
    firstToken = block.parameter("firstToken", U32.self)
    record = block.pointer("indexRecord", to: U32.self, alignment: 4)
    list = block.variable(0, as: U32.self, "list")
    value = block.variable(0, as: U32.self, "value")
    page = block.variable(0xFFFF_FFFF, as: U32.self, "page")
  }

  private func fail(_ list: IndexError.List, _ value: Value<U32>) {
    block.assign(self.list, block.constant(Int(list.rawValue), as: U32.self))
    block.assign(self.value, value)
  }

  /// The page of a position of a request; all ones for none, be it that the lists say so or that they
  /// are wrong.
  ///
  /// - Parameters:
  ///   - offsets: compressed rows; nil for a block table, whose rows are `width` apart.
  ///   - reports: whether this thread writes the record for its token.
  func page(
    token: Value<U32>, request: Value<S32>, position: Value<U32>, ordinal: Value<U32>,
    isSkipped: Value<Pred>, pages: GlobalPointer<U32>, offsets: GlobalPointer<U32>?,
    width: Value<U32>?, reports: Value<Pred>
  ) -> Value<U32> {
    let row = request.bitcast(to: U32.self)
    let isRequest = row < requests
    block.when((row != 0xFFFF_FFFF) & !isRequest) { fail(.batchIndices, row) }
    block.when(isRequest & !isSkipped) {
      if let offsets {
        let begin = block.load(offsets[row.converted(to: U64.self)])
        let end = block.load(offsets[row.converted(to: U64.self) + 1])
        block.when((begin <= end) & (end <= entries)) {
          lookUp(ordinal, end - begin, position, pages, begin.converted(to: U64.self))
        } otherwise: {
          fail(.pageIndptr, select(end <= entries, begin, end))
        }
      } else if let width {
        lookUp(ordinal, entries, position, pages, row.multipliedWide(by: width))
      }
    }
    block.when((list.value != 0) & reports) { report(token, row, position, ordinal) }
    return page.value
  }

  private func lookUp(
    _ ordinal: Value<U32>, _ count: Value<U32>, _ position: Value<U32>,
    _ pages: GlobalPointer<U32>, _ start: Value<U64>
  ) {
    block.when(ordinal < count) {
      let found = block.load(pages[start + ordinal.converted(to: U64.self)])
      block.when(found < cachePages) {
        block.assign(page, found)
      } otherwise: {
        block.when(found != 0xFFFF_FFFF) { fail(.pages, found) }
      }
    } otherwise: {
      fail(.positions, position)
    }
  }

  /// Counts a bad token; whoever is first says which.
  private func report(
    _ token: Value<U32>, _ row: Value<U32>, _ position: Value<U32>, _ ordinal: Value<U32>
  ) {
    let before = block.atomic(.add, record, block.constant(1, as: U32.self))
    block.when(before == 0) {
      let words = [list.value, firstToken + token, row, position, ordinal, value.value]
      for (index, word) in words.enumerated() { block.store(word, to: record[index + 1]) }
    }
  }
}
