/// One executed op with its inputs, outputs and nested regions.
///
/// A value whose copies share one object: passes, rules and printers walk the nodes of a kernel some
/// thirty times, and a copy of five fields would count four references each time. A change of a field
/// makes another object, or changes this one where no other value shares it.
public struct Node: Sendable, Hashable {
  @usableFromInline
  var fields: Fields

  /// What to do.
  @inlinable
  public var op: Op {
    get { fields.op }
    set {
      fields = Fields(
        newValue, fields.operands, fields.results, fields.regions, fields.location)
    }
  }

  /// Inputs, in the order the op's documentation lists them.
  @inlinable
  public var operands: [Operand] {
    get { fields.operands }
    set {
      fields = Fields(fields.op, newValue, fields.results, fields.regions, fields.location)
    }
  }

  /// Values written, in documented order. In-place ops repeat their variables here and in
  /// `operands`, so generic data flow needs no special case: reads are operands, writes results.
  @inlinable
  public var results: [ValueID] {
    get { fields.results }
    set {
      fields = Fields(fields.op, fields.operands, newValue, fields.regions, fields.location)
    }
  }

  /// Nested code of `if`, `loop` and `roles`; empty for every other op.
  ///
  /// A change in place leaves the nodes of the regions where they are.
  public var regions: [Region] {
    get { fields.regions }
    set {
      makeUnique()
      fields.regions = newValue
    }
    _modify {
      makeUnique()
      var regions: [Region] = []
      swap(&regions, &fields.regions)
      defer { fields.regions = regions }
      yield &regions
    }
  }

  /// Whether there is nested code; asks less than `regions` does.
  @inlinable
  public var hasRegions: Bool { !fields.regions.isEmpty }

  /// The line of Swift that emitted the node.
  public var location: SourceLocation {
    get { fields.location }
    set {
      makeUnique()
      fields.location = newValue
    }
  }

  /// A node.
  @inlinable
  public init(
    _ op: Op, operands: [Operand] = [], results: [ValueID] = [], regions: [Region] = [],
    location: SourceLocation
  ) {
    fields = Fields(op, operands, results, regions, location)
  }

  fileprivate init(_ fields: Fields) { self.fields = fields }

  /// Calls `body` with the node without counting a reference to it, which in a walk over thousands of
  /// nodes costs more than most questions. The node must keep its place meanwhile: `body` changes
  /// nothing that holds it.
  @inline(__always)
  package func unretained<Result>(_ body: (Node) throws -> Result) rethrows -> Result {
    try Unmanaged.passUnretained(fields)._withUnsafeGuaranteedRef { try body(Node($0)) }
  }

  /// Changes op and operands at once.
  mutating func replace(_ op: Op, operands: [Operand]) {
    fields = Fields(op, operands, fields.results, fields.regions, fields.location)
  }

  private mutating func makeUnique() {
    guard !isKnownUniquelyReferenced(&fields) else { return }
    fields = Fields(
      fields.op, fields.operands, fields.results, fields.regions, fields.location)
  }

  /// Same op, inputs, outputs, nested code and place.
  public static func == (left: Node, right: Node) -> Bool {
    left.fields === right.fields
      || left.op == right.op && left.operands == right.operands && left.results == right.results
        && left.regions == right.regions && left.location == right.location
  }

  /// Hashes all fields.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(op)
    hasher.combine(operands)
    hasher.combine(results)
    hasher.combine(regions)
    hasher.combine(location)
  }

  /// Sendable: a field changes only under `makeUnique`, in an object that one value refers to.
  @usableFromInline
  final class Fields: @unchecked Sendable {
    @usableFromInline let op: Op
    @usableFromInline let operands: [Operand]
    @usableFromInline let results: [ValueID]
    @usableFromInline @exclusivity(unchecked) var regions: [Region]
    @usableFromInline @exclusivity(unchecked) var location: SourceLocation

    @usableFromInline
    init(
      _ op: Op, _ operands: [Operand], _ results: [ValueID], _ regions: [Region],
      _ location: SourceLocation
    ) {
      self.op = op
      self.operands = operands
      self.results = results
      self.regions = regions
      self.location = location
    }
  }
}

/// A straight list of nodes, executed in order; the only scope of immutable values.
public struct Region: Sendable, Hashable {
  /// The nodes in program order.
  public var nodes: [Node]

  /// A region.
  public init(_ nodes: [Node] = []) { self.nodes = nodes }
}

extension Region {
  /// Calls `body` with every node in program order, outer nodes before what they hold, and the
  /// depth of nesting.
  public func forEachNode(_ body: (_ node: Node, _ depth: Int) throws -> Void) rethrows {
    var walk = NodeWalk(self)
    while let node = walk.next() {
      try node._withUnsafeGuaranteedRef { try body(Node($0), walk.depth) }
    }
  }

  /// Whether a node here or in a nested region is one that `condition` looks for.
  func contains(where condition: (Node) -> Bool) -> Bool {
    var walk = NodeWalk(self)
    while let node = walk.next() {
      if node._withUnsafeGuaranteedRef({ condition(Node($0)) }) { return true }
    }
    return false
  }

  /// Nodes here and in all nested regions.
  public var totalNodeCount: Int {
    var count = 0
    forEachNode { _, _ in count += 1 }
    return count
  }
}

/// A place in a walk over all nodes of a region, outer nodes before what they hold.
///
/// It keeps its way in a list instead of calling itself: a walk that is specialised for a closure
/// and calls itself hands copies of all that the closure captures from call to call, a whole
/// kernel's tables for each region. And it gives nodes unretained, as `nodes` keeps them: counting
/// references up and down would be most of the cost of a walk.
private struct NodeWalk {
  private struct Outer {
    let nodes: [Node]
    let next: Int
    let regions: [Region]
    var region = 0
  }

  private var nodes: [Node]
  private var index = 0
  private var outer: [Outer] = []
  private var entersRegions = false
  /// Depth of nesting of the node that was given last.
  private(set) var depth = 0

  init(_ region: Region) { nodes = region.nodes }

  /// The next node's fields, which live until the next call; nil behind the last.
  @inline(__always)
  mutating func next() -> Unmanaged<Node.Fields>? {
    if entersRegions { enter() }
    if index == nodes.count, !leave() { return nil }
    let node = Unmanaged.passUnretained(nodes[index].fields)
    entersRegions = nodes[index].hasRegions
    index += 1
    depth = outer.count
    return node
  }

  /// Goes into the regions of the node that was given last.
  @inline(never)
  private mutating func enter() {
    entersRegions = false
    outer.append(Outer(nodes: nodes, next: index, regions: nodes[index - 1].regions))
    nodes = []
    index = 0
  }

  /// Goes to the next region that has nodes left.
  @inline(never)
  private mutating func leave() -> Bool {
    while index == nodes.count, let last = outer.indices.last {
      if outer[last].region < outer[last].regions.count {
        nodes = outer[last].regions[outer[last].region].nodes
        index = 0
        outer[last].region += 1
      } else {
        (nodes, index) = (outer[last].nodes, outer[last].next)
        outer.removeLast()
      }
    }
    return index < nodes.count
  }
}
