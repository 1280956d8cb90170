public import ApusIR

extension KernelIR {
  /// The most registers that values take at one place of the code, in the order it is written.
  ///
  /// A value lives from its definition to its last use; a use in a loop that does not hold the
  /// definition keeps it alive to the loop's end. Variables live from their declaration on likewise.
  /// A value of 64 bits takes two registers, a predicate none, any other one; parameters none, as
  /// instructions read them from constant memory. Assemblers reorder, so theirs is another number.
  public var peakLiveRegisters: Int {
    var lifetimes = Lifetimes(valueCount: values.count)
    lifetimes.visit(body)
    var changes = [Int](repeating: 0, count: lifetimes.position + 2)
    for (index, info) in values.enumerated() {
      guard let first = lifetimes.first[index], !lifetimes.isParameter[index] else { continue }
      let size = info.type.bitWidth == 64 ? 2 : info.type == .pred ? 0 : 1
      changes[first] += size
      changes[(lifetimes.last[index] ?? first) + 1] -= size
    }
    var live = 0
    var peak = 0
    for change in changes {
      live += change
      peak = max(peak, live)
    }
    return peak
  }
}

/// First and last position of each value, nodes numbered in the order of the text.
private struct Lifetimes {
  var position = 0
  var first: [Int?]
  var last: [Int?]
  var isParameter: [Bool]
  /// Loops around the current node: where each began, and values of outside that it uses.
  private var loops: [(start: Int, used: Set<Int>)] = []

  init(valueCount: Int) {
    first = Array(repeating: nil, count: valueCount)
    last = Array(repeating: nil, count: valueCount)
    isParameter = Array(repeating: false, count: valueCount)
  }

  mutating func visit(_ region: Region) {
    for node in region.nodes {
      position += 1
      for id in node.operands.compactMap(\.valueID) { use(id.index) }
      for id in node.results {
        if first[id.index] == nil { first[id.index] = position }
        use(id.index)
        if case .memory(.parameter) = node.op { isParameter[id.index] = true }
      }
      guard case .control(.loop) = node.op else {
        for inner in node.regions { visit(inner) }
        continue
      }
      loops.append((position, []))
      for inner in node.regions { visit(inner) }
      position += 1
      if let loop = loops.popLast() {
        for index in loop.used { use(index) }
      }
    }
  }

  private mutating func use(_ index: Int) {
    last[index] = position
    guard let start = first[index] else { return }
    for depth in loops.indices where start < loops[depth].start { loops[depth].used.insert(index) }
  }
}
