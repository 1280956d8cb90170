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
    try forEachNode(depth: 0, body)
  }

  private func forEachNode(depth: Int, _ body: (Node, Int) throws -> Void) rethrows {
    // By index: a node that is only looked at in its place is not copied.
    for index in nodes.indices {
      try body(nodes[index], depth)
      guard nodes[index].hasRegions else { continue }
      for inner in nodes[index].regions.indices {
        try nodes[index].regions[inner].forEachNode(depth: depth + 1, body)
      }
    }
  }

  /// Whether a node here or in a nested region is one that `condition` looks for.
  func contains(where condition: (Node) -> Bool) -> Bool {
    for index in nodes.indices {
      if condition(nodes[index]) { return true }
      if nodes[index].hasRegions,
        nodes[index].regions.contains(where: { $0.contains(where: condition) })
      {
        return true
      }
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
