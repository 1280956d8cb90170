/// Emits nodes in program order into a stack of open regions; what the Swift front end wraps.
///
/// The builder checks nothing but its own use: `Verifier` checks the kernel. Every call takes the
/// place in the caller's Swift source that diagnostics will name.
public struct IRBuilder: Sendable {
  private var kernel: KernelIR
  /// Nodes of the innermost open region.
  private var nodes: [Node] = []
  /// Regions around it, the body first.
  private var outer: [Region] = []

  /// An empty kernel.
  public init(symbol: String, launch: LaunchBounds) {
    kernel = KernelIR(symbol: symbol, launch: launch)
  }

  /// The tables so far: parameters, shared memory, barriers, values; the body is empty.
  public var tables: KernelIR { kernel }

  /// Regions open beyond the body: 0 at the top level.
  public var depth: Int { outer.count }

  /// Type of an operand.
  public func type(of operand: Operand) -> ValueType { kernel.type(of: operand) }

  // MARK: - Tables

  /// Adds a launch argument.
  public mutating func addParameter(name: String, kind: Parameter.Kind) -> ParameterID {
    kernel.parameters.append(Parameter(name: name, kind: kind))
    return ParameterID(kernel.parameters.count - 1)
  }

  /// Adds shared memory behind all earlier allocations, aligned up to `alignment` (a power of
  /// two), or at `offset`, where it may overlap others on purpose.
  public mutating func addShared(
    name: String, byteCount: Int, alignment: Int = 16,
    contents: SharedAllocation.Contents = .bytes, at offset: Int? = nil
  ) -> SharedID {
    let end = kernel.sharedByteCount
    let aligned = alignment > 0 ? (end + alignment - 1) / alignment * alignment : end
    kernel.shared.append(
      SharedAllocation(
        name: name, offset: offset ?? aligned, byteCount: byteCount, alignment: alignment,
        contents: contents))
    return SharedID(kernel.shared.count - 1)
  }

  /// Adds named barriers with given hardware numbers.
  public mutating func addBarrier(
    name: String, firstID: Int, count: Int = 1, threads: Int
  ) -> NamedBarrierID {
    kernel.barriers.append(
      NamedBarrier(name: name, firstID: firstID, count: count, threads: threads))
    return NamedBarrierID(kernel.barriers.count - 1)
  }

  /// Adds a ring of two mbarrier arrays of equal size.
  public mutating func addRing(name: String, full: SharedID, empty: SharedID) {
    kernel.rings.append(Ring(name: name, full: full, empty: empty))
  }

  /// Adds a value without a node; `emit` and `variable` do both.
  public mutating func addValue(
    _ type: ValueType, kind: ValueInfo.Kind = .immutable, name: String = "",
    at location: SourceLocation
  ) -> ValueID {
    kernel.values.append(ValueInfo(type: type, kind: kind, nameHint: name, location: location))
    return ValueID(kernel.values.count - 1)
  }

  // MARK: - Nodes

  /// Emits an op and returns its fresh results, one per type, each with the name hint.
  @discardableResult
  public mutating func emit(
    _ op: Op, _ operands: [Operand] = [], results types: [ValueType] = [], name: String = "",
    regions: [Region] = [], at location: SourceLocation
  ) -> [ValueID] {
    var results: [ValueID] = []
    results.reserveCapacity(types.count)
    for type in types { results.append(addValue(type, name: name, at: location)) }
    append(
      Node(op, operands: operands, results: results, regions: regions, location: location))
    return results
  }

  /// Emits an op with one result.
  public mutating func value(
    _ op: Op, _ operands: [Operand] = [], type: ValueType, name: String = "",
    at location: SourceLocation
  ) -> ValueID {
    let result = addValue(type, name: name, at: location)
    append(Node(op, operands: operands, results: [result], location: location))
    return result
  }

  /// Declares a variable in the open region, with an initial value if there is one.
  public mutating func variable(
    _ type: ValueType, initial: Operand? = nil, name: String = "", at location: SourceLocation
  ) -> ValueID {
    let result = addValue(type, kind: .variable, name: name, at: location)
    append(
      Node(
        .movement(.variable), operands: initial.map { [$0] } ?? [], results: [result],
        location: location))
    return result
  }

  /// Writes a variable.
  public mutating func assign(
    _ variable: ValueID, _ source: Operand, at location: SourceLocation
  ) {
    append(
      Node(.movement(.assign), operands: [source], results: [variable], location: location))
  }

  /// Emits a product that updates `accumulators` (variables) in place.
  public mutating func accumulate(
    _ op: Op.TensorCore, into accumulators: [ValueID], _ operands: [Operand],
    at location: SourceLocation
  ) {
    append(
      Node(
        .tensorCore(op), operands: accumulators.map(Operand.value) + operands,
        results: accumulators, location: location))
  }

  /// Appends a finished node to the innermost open region.
  public mutating func append(_ node: Node) { nodes.append(node) }

  // MARK: - Regions

  /// Opens a nested region; nodes go there until `closeRegion`.
  public mutating func openRegion() {
    outer.append(Region(nodes))
    nodes = []
  }

  /// Closes the innermost region and returns it for the node that owns it; an empty region if
  /// none is open.
  public mutating func closeRegion() -> Region {
    guard let around = outer.popLast() else { return Region() }
    let closed = Region(nodes)
    nodes = around.nodes
    return closed
  }

  /// The region that `body` emits.
  public mutating func region(
    _ body: (inout IRBuilder) throws -> Void
  ) rethrows -> Region {
    openRegion()
    try body(&self)
    return closeRegion()
  }

  /// The kernel. Regions still open are closed and dropped: their owners were never emitted.
  public consuming func finish() -> KernelIR {
    kernel.body = outer.first ?? Region(nodes)
    return kernel
  }
}
