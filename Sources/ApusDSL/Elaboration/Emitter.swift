import ApusIR

/// The state of one elaboration, shared by the block and by every value made through it.
///
/// Operators cannot take default arguments, so their nodes get a pending place first: the number
/// of statements so far. The next statement, which states its file and line, settles it.
final class Emitter {
  // Every op changes it, from code that runs no other code meanwhile: checking each time that
  // nobody else does costs more than the change.
  @exclusivity(unchecked) var builder: IRBuilder
  let launch: LaunchBounds
  let target: Target
  private var failures: [ElaborationFailure] = []
  private var settled: [SourceLocation] = []
  private var last: SourceLocation
  private var blockBarrier: NamedBarrierID?
  private var nextBarrier = 1
  private var commits: [GroupToken.Kind: Int] = [:]

  init(symbol: String, launch: LaunchBounds, target: Target, at location: SourceLocation) {
    self.target = target
    builder = IRBuilder(symbol: symbol, launch: launch)
    self.launch = launch
    last = location
  }

  // MARK: - Places

  /// The place of the statement that comes next; `resolve` replaces it when all are known.
  var pending: SourceLocation { SourceLocation(fileID: "", line: settled.count) }

  /// Notes a statement: what operators emitted since the last one belongs to it.
  func settle(_ file: String, _ line: Int) -> SourceLocation {
    last = SourceLocation(fileID: file, line: line)
    settled.append(last)
    return last
  }

  /// Gives what is pending to the last statement; at the end of regions, where none follows.
  func settleAtEnd() { settled.append(last) }

  private func resolve(_ location: SourceLocation) -> SourceLocation {
    guard location.fileID.isEmpty else { return location }
    return settled.indices.contains(location.line) ? settled[location.line] : last
  }

  private func resolve(_ region: inout Region) {
    for index in region.nodes.indices {
      if region.nodes[index].location.fileID.isEmpty {
        region.nodes[index].location = resolve(region.nodes[index].location)
      }
      guard region.nodes[index].hasRegions else { continue }
      for inner in region.nodes[index].regions.indices {
        resolve(&region.nodes[index].regions[inner])
      }
    }
  }

  // MARK: - Results

  /// Records the mistake; elaboration goes on, so that all of them are found at once.
  func fail(_ message: String, at location: SourceLocation? = nil) {
    failures.append(ElaborationFailure(message: message, location: location ?? pending))
  }

  /// The kernel with every place settled, and the mistakes recorded.
  func finish() -> (kernel: KernelIR, failures: [ElaborationFailure]) {
    settleAtEnd()
    // Taken out, so that its nodes have one owner and are not copied when they change.
    let own = builder
    builder = IRBuilder(symbol: "", launch: launch)
    var kernel = own.finish()
    resolve(&kernel.body)
    for index in kernel.values.indices {
      kernel.values[index].location = resolve(kernel.values[index].location)
    }
    return (
      kernel,
      failures.map {
        ElaborationFailure(message: $0.message, location: resolve($0.location))
      }
    )
  }

  // MARK: - Emission

  /// Emits an op with one result of type T.
  func value<T: Scalar>(
    _ op: Op, _ operands: [Operand] = [], name: String = "", at location: SourceLocation? = nil
  ) -> Value<T> {
    let id = builder.value(op, operands, type: T.type, name: name, at: location ?? pending)
    return Value(operand: .value(id), emitter: self)
  }

  /// Emits an op with several results of type T.
  func values<T: Scalar>(
    _ op: Op, _ operands: [Operand], count: Int, at location: SourceLocation
  ) -> [Value<T>] {
    builder.emit(
      op, operands, results: Array(repeating: T.type, count: count), at: location
    ).map { Value(operand: .value($0), emitter: self) }
  }

  /// Emits an op without results.
  func perform(
    _ op: Op, _ operands: [Operand] = [], regions: [Region] = [], at location: SourceLocation
  ) {
    builder.emit(op, operands, regions: regions, at: location)
  }

  /// The nodes that `body` emits, as a region.
  func region(_ body: () -> Void) -> Region {
    builder.openRegion()
    let surelyCommitted = commits
    body()
    commits = surelyCommitted
    settleAtEnd()
    return builder.closeRegion()
  }

  /// The constant of a literal; outside the type's range a recorded mistake and zero.
  func constant<T: NumberScalar>(
    _ literal: T.Literal, as type: T.Type, at location: SourceLocation? = nil
  ) -> Operand {
    guard let constant = T.constant(literal) else {
      fail("literal: must be a value of \(T.type); found \(literal).", at: location)
      return .constant(Constant(type: T.type, bits: 0))
    }
    return .constant(constant)
  }

  /// A u32 constant from a configuration's number.
  func u32(_ value: Int, at location: SourceLocation? = nil) -> Operand {
    constant(value, as: U32.self, at: location)
  }

  /// Records a mistake unless `emitter` is this elaboration's.
  func requireOwn(_ emitter: Emitter, at location: SourceLocation? = nil) {
    guard emitter !== self else { return }
    fail("operand: must come from this kernel; found a value of another.", at: location)
  }

  // MARK: - Groups

  /// Groups that are committed for sure where the next statement stands.
  func committed(_ kind: GroupToken.Kind) -> Int { commits[kind, default: 0] }

  /// Counts a commit and names its group.
  func commit(_ kind: GroupToken.Kind) -> GroupToken {
    commits[kind, default: 0] += 1
    return GroupToken(kind: kind, number: committed(kind))
  }

  // MARK: - Barriers

  /// Barrier 0, with all threads of the block.
  func wholeBlockBarrier() -> NamedBarrierID {
    if let blockBarrier { return blockBarrier }
    let id = builder.addBarrier(name: "block", firstID: 0, threads: launch.threads)
    blockBarrier = id
    return id
  }

  /// The next free numbers, from 1 on.
  func addBarrier(name: String, count: Int, threads: Int) -> NamedBarrierID {
    defer { nextBarrier += count }
    return builder.addBarrier(name: name, firstID: nextBarrier, count: count, threads: threads)
  }
}
