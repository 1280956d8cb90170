public import ApusIR

extension Block {
  /// Runs `body` in the threads where `condition` holds, `otherwise` in the others.
  ///
  /// - Parameter form: `.uniform` promises that the lanes of a warp agree; `.predicated` prints
  ///   guards instead of a branch.
  public func when(
    _ condition: Value<Pred>, _ form: Op.BranchForm = .divergent, file: String = #fileID,
    line: Int = #line, _ body: () -> Void, otherwise: (() -> Void)? = nil
  ) {
    let location = emitter.settle(file, line)
    emitter.requireOwn(condition.emitter, at: location)
    var regions = [emitter.region(body)]
    if let otherwise { regions.append(emitter.region(otherwise)) }
    emitter.perform(
      .control(.if(form)), [condition.operand], regions: regions, at: location)
  }

  /// Repeats `body` until every thread has left by `breakIf` or `exit`.
  public func loop(
    _ form: Op.LoopForm = .automatic, file: String = #fileID, line: Int = #line,
    _ body: () -> Void
  ) {
    let location = emitter.settle(file, line)
    emitter.perform(.control(.loop(form)), regions: [emitter.region(body)], at: location)
  }

  /// Repeats `body` while `condition`, evaluated before each round, holds.
  public func loop(
    while condition: () -> Value<Pred>, form: Op.LoopForm = .automatic, file: String = #fileID,
    line: Int = #line, _ body: () -> Void
  ) {
    loop(form, file: file, line: line) {
      breakIf(!condition(), file: file, line: line)
      body()
    }
  }

  /// Runs `body` with start, start + step, … as long as they are below `end`.
  ///
  /// The counter advances before `body`, so `continueIf` goes on with the next number. The end
  /// must not exceed the type's largest value minus `step`.
  public func loop<T: IndexScalar>(
    from start: Value<T>, to end: Value<T>, step: Value<T>, form: Op.LoopForm = .automatic,
    name: String = "i", file: String = #fileID, line: Int = #line,
    _ body: (_ index: Value<T>) -> Void
  ) {
    let counter = variable(start, name, file: file, line: line)
    loop(form, file: file, line: line) {
      let index = counter.value
      breakIf(index >= end, file: file, line: line)
      assign(counter, index + step, file: file, line: line)
      body(index)
    }
  }

  /// Runs `body` with start, start + step, … below `end`; numbers of the configuration.
  public func loop<T: IndexScalar>(
    from start: Value<T>, to end: Value<T>, step: Int = 1, form: Op.LoopForm = .automatic,
    name: String = "i", file: String = #fileID, line: Int = #line,
    _ body: (_ index: Value<T>) -> Void
  ) {
    if step < 1 {
      elaborationFailure(
        "loop: step must be at least 1; found \(step).", file: file, line: line)
    }
    loop(
      from: start, to: end, step: constant(step, as: T.self, file: file, line: line), form: form,
      name: name, file: file, line: line, body)
  }

  /// Runs `body` with 0, 1, … `count` − 1.
  public func loop<T: IndexScalar>(
    _ count: Value<T>, form: Op.LoopForm = .automatic, name: String = "i",
    file: String = #fileID, line: Int = #line, _ body: (_ index: Value<T>) -> Void
  ) {
    loop(
      from: constant(0, as: T.self), to: count, step: 1, form: form, name: name, file: file,
      line: line, body)
  }

  /// Threads with `condition` leave the innermost loop.
  public func breakIf(
    _ condition: Value<Pred>, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .control(.breakIf), [condition.operand], at: emitter.settle(file, line))
  }

  /// Threads with `condition` go on with the next round of the innermost loop.
  public func continueIf(
    _ condition: Value<Pred>, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .control(.continueIf), [condition.operand], at: emitter.settle(file, line))
  }

  /// Ends the thread.
  public func exit(file: String = #fileID, line: Int = #line) {
    emitter.perform(.control(.exit), at: emitter.settle(file, line))
  }

  /// Aborts the launch with an error.
  public func trap(file: String = #fileID, line: Int = #line) {
    emitter.perform(.control(.trap), at: emitter.settle(file, line))
  }

  /// Pauses each thread for 0 to twice the time; at most 10^6 nanoseconds.
  public func sleep(
    nanoseconds: Value<U32>, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .control(.sleep), [nanoseconds.operand], at: emitter.settle(file, line))
  }

  /// Sets the register budget of a warpgroup's threads, sm_90a; roles do it on entry.
  ///
  /// - Parameter count: a multiple of 8 in 24…256, below (`decrease`) or above what they have.
  public func setMaxRegisters(
    _ count: Int, _ change: Op.RegisterChange, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .control(.setMaxRegisters(change, count: count)), at: emitter.settle(file, line))
  }

  // MARK: - Roles

  /// Distributes the block's warps over roles; stands once, at the top level.
  ///
  /// ```swift
  /// block.roles { roles in
  ///   roles.role("producer", warps: 0..<4, registers: 24) { … }
  ///   roles.role("consumer", warps: 4..<12, registers: 240) { … }
  /// }
  /// ```
  public func roles(
    file: String = #fileID, line: Int = #line, _ body: (_ roles: RoleList) -> Void
  ) {
    let index = warpIndex
    let location = emitter.settle(file, line)
    let list = RoleList(emitter: emitter)
    body(list)
    emitter.perform(
      .control(.roles(list.roles)), [index.operand], regions: list.regions, at: location)
  }
}

/// Collects the roles of one `Block.roles`.
public final class RoleList {
  private let emitter: Emitter
  private(set) var roles: [Role] = []
  private(set) var regions: [Region] = []

  init(emitter: Emitter) { self.emitter = emitter }

  /// The code of some warps, with their register budget on sm_90a if one is given.
  public func role(
    _ name: String, warps: Range<Int>, registers: Int? = nil, file: String = #fileID,
    line: Int = #line, _ body: () -> Void
  ) {
    _ = emitter.settle(file, line)
    roles.append(Role(name: name, warps: warps, registers: registers))
    regions.append(emitter.region(body))
  }
}
