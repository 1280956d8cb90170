/// One executed op with its inputs, outputs and nested regions.
public struct Node: Sendable, Hashable {
  /// What to do.
  public var op: Op
  /// Inputs, in the order the op's documentation lists them.
  public var operands: [Operand]
  /// Values written, in documented order. In-place ops repeat their variables here and in
  /// `operands`, so generic data flow needs no special case: reads are operands, writes results.
  public var results: [ValueID]
  /// Nested code of `if`, `loop` and `roles`; empty for every other op.
  public var regions: [Region]
  /// The line of Swift that emitted the node.
  public var location: SourceLocation

  /// A node.
  public init(
    _ op: Op, operands: [Operand] = [], results: [ValueID] = [], regions: [Region] = [],
    location: SourceLocation
  ) {
    self.op = op
    self.operands = operands
    self.results = results
    self.regions = regions
    self.location = location
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
    for node in nodes {
      try body(node, depth)
      for region in node.regions { try region.forEachNode(depth: depth + 1, body) }
    }
  }

  /// Nodes here and in all nested regions.
  public var totalNodeCount: Int {
    nodes.reduce(0) { count, node in
      count + 1 + node.regions.reduce(0) { $0 + $1.totalNodeCount }
    }
  }
}
