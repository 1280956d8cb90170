/// An index in device memory that points beside what it indexes, found by a back end that checks such
/// lists (`checksIndices`). What it asked for was neither read nor written; the rest of the call was
/// done.
public struct IndexError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Which list has the value.
  public enum List: UInt32, Sendable, Hashable, CaseIterable {
    /// Request of a token: −1 or a row of the page lists.
    case batchIndices = 1
    /// Offsets of the pages of a request: ascending, within the list of pages.
    case pageIndptr = 2
    /// Position of a token: within the pages of its request.
    case positions = 3
    /// Pages of a request: −1 or a page of the cache.
    case pages = 4
  }

  /// The operation, for example `Append.run`.
  public let operation: String
  /// The list with the bad value.
  public let list: List
  /// The bad value.
  public let value: Int
  /// Token of the call, from 0.
  public let token: Int
  /// Request of the token.
  public let request: Int
  /// Position of the token within its request.
  public let position: Int
  /// Which of its request's pages the position is on.
  public let page: Int
  /// How many tokens had bad values since the last report; this is the first that was found.
  public let count: Int

  /// An error with its fields.
  public init(
    operation: String, list: List, value: Int, token: Int, request: Int, position: Int, page: Int,
    count: Int
  ) {
    self.operation = operation
    self.list = list
    self.value = value
    self.token = token
    self.request = request
    self.position = position
    self.page = page
    self.count = count
  }

  private var requirement: String {
    switch list {
    case .batchIndices: "batchIndices must be −1 or below the number of requests"
    case .pageIndptr: "pageIndptr must ascend and stay within the list of pages"
    case .positions: "positions must be within the pages of their requests"
    case .pages: "page indices must be −1 or below the page count of the cache"
    }
  }

  /// `operation: requirement; found value where. remedy`.
  public var description: String {
    var place = "token \(token)"
    if list != .batchIndices { place += ", request \(request), position \(position)" }
    if list == .pages { place += ", page \(page) of the request" }
    let others = count > 1 ? " It is one of \(count) such tokens." : ""
    return "\(operation): \(requirement); found \(value) at \(place).\(others)"
  }
}

extension IndexError {
  /// Words of the record in device memory.
  public static let recordWordCount = 8

  /// The error that kernels left in a record; nil for an empty one.
  ///
  /// The words: how many tokens were bad, and of the first its list, token, request, position, page
  /// and value.
  public init?(record words: [UInt32], operation: String) {
    guard words.count >= 7, words[0] > 0, let list = List(rawValue: words[1]) else { return nil }
    func signed(_ index: Int) -> Int { Int(Int32(bitPattern: words[index])) }
    self.init(
      operation: operation, list: list, value: signed(6), token: Int(words[2]),
      request: signed(3), position: signed(4), page: Int(words[5]), count: Int(words[0]))
  }
}
