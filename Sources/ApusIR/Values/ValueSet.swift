/// A set of values of one kernel, a bit each: kernels have a few thousand values, and analyses
/// copy, join and compare such sets at every branch.
struct ValueSet: Equatable {
  private var words: [UInt64] = []

  /// The empty set.
  init() {}

  /// Whether no value is in it.
  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

  /// How many values.
  var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// Whether the value is in it.
  func contains(_ id: ValueID) -> Bool {
    let word = id.index >> 6
    return word < words.count && words[word] >> UInt64(id.index & 63) & 1 == 1
  }

  /// Adds a value.
  mutating func insert(_ id: ValueID) {
    let word = id.index >> 6
    while words.count <= word { words.append(0) }
    words[word] |= 1 << UInt64(id.index & 63)
  }

  /// Adds all values of another set.
  mutating func formUnion(_ other: ValueSet) {
    while words.count < other.words.count { words.append(0) }
    for index in other.words.indices { words[index] |= other.words[index] }
  }

  /// The values that are in both.
  func intersection(_ other: ValueSet) -> ValueSet {
    var result = ValueSet()
    result.words = zip(words, other.words).map { $0 & $1 }
    return result
  }

  /// Whether every value is in the other set too.
  func isSubset(of other: ValueSet) -> Bool {
    words.indices.allSatisfy { index in
      words[index] & ~(index < other.words.count ? other.words[index] : 0) == 0
    }
  }

  /// Drops all values and keeps the storage.
  mutating func removeAll() {
    for index in words.indices { words[index] = 0 }
  }

  /// Same values, whatever the storage's length.
  static func == (left: ValueSet, right: ValueSet) -> Bool {
    let count = max(left.words.count, right.words.count)
    return (0..<count).allSatisfy { index in
      (index < left.words.count ? left.words[index] : 0)
        == (index < right.words.count ? right.words[index] : 0)
    }
  }
}
