/// One executed op with its inputs, outputs and nested regions.
///
/// A value whose copies share one object: passes, rules and printers walk the nodes of a kernel some
/// thirty times, and a copy of five fields would count four references each time. The object never
/// changes; a change of a field makes another one.
public struct Node: Sendable, Hashable {
  private var fields: Fields

  /// What to do.
  public var op: Op {
    get { fields.op }
    set {
      fields = Fields(
        newValue, fields.operands, fields.results, fields.regions, fields.location)
    }
  }

  /// Inputs, in the order the op's documentation lists them.
  public var operands: [Operand] {
    get { fields.operands }
    set {
      fields = Fields(fields.op, newValue, fields.results, fields.regions, fields.location)
    }
  }

  /// Values written, in documented order. In-place ops repeat their variables here and in
  /// `operands`, so generic data flow needs no special case: reads are operands, writes results.
  public var results: [ValueID] {
    get { fields.results }
    set {
      fields = Fields(fields.op, fields.operands, newValue, fields.regions, fields.location)
    }
  }

  /// Nested code of `if`, `loop` and `roles`; empty for every other op.
  public var regions: [Region] {
    get { fields.regions }
    set {
      fields = Fields(fields.op, fields.operands, fields.results, newValue, fields.location)
    }
  }

  /// The line of Swift that emitted the node.
  public var location: SourceLocation {
    get { fields.location }
    set {
      fields = Fields(fields.op, fields.operands, fields.results, fields.regions, newValue)
    }
  }

  /// A node.
  public init(
    _ op: Op, operands: [Operand] = [], results: [ValueID] = [], regions: [Region] = [],
    location: SourceLocation
  ) {
    fields = Fields(op, operands, results, regions, location)
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

  private final class Fields: Sendable {
    let op: Op
    let operands: [Operand]
    let results: [ValueID]
    let regions: [Region]
    let location: SourceLocation

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
      for inner in nodes[index].regions.indices {
        try nodes[index].regions[inner].forEachNode(depth: depth + 1, body)
      }
    }
  }

  /// Nodes here and in all nested regions.
  public var totalNodeCount: Int {
    var count = 0
    forEachNode { _, _ in count += 1 }
    return count
  }
}
