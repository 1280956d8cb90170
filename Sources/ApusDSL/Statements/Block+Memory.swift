public import ApusIR

extension Block {
  // MARK: - Global memory

  /// One element of device memory.
  public func load<T: DataScalar>(
    _ source: GlobalPointer<T>, _ caching: Caching = .plain, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    loadGlobal(source, count: 1, caching, file, line)[0]
  }

  /// `count` (1, 2 or 4) consecutive elements, aligned to their total size.
  public func load<T: DataScalar>(
    _ source: GlobalPointer<T>, count: Int, _ caching: Caching = .plain,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    loadGlobal(source, count: count, caching, file, line)
  }

  private func loadGlobal<T: DataScalar>(
    _ source: GlobalPointer<T>, count: Int, _ caching: Caching, _ file: String, _ line: Int
  ) -> [Value<T>] {
    let location = emitter.settle(file, line)
    emitter.requireOwn(source.address.emitter, at: location)
    let count = vectorCount(count, "load", location)
    let access = Op.MemoryAccess(
      .global, T.element, offset: source.offset, ordering: caching.ordering,
      isNonCoherent: caching.isReadOnly, l1: caching.l1, l2Prefetch: caching.l2Prefetch,
      hasPolicy: caching.policy != nil)
    return emitter.values(
      .memory(.ld(access)), [source.address.operand] + policy(caching), count: count,
      at: location)
  }

  /// Writes one element of device memory.
  public func store<T: DataScalar>(
    _ value: Value<T>, to destination: GlobalPointer<T>, _ caching: Caching = .plain,
    file: String = #fileID, line: Int = #line
  ) {
    store([value], to: destination, caching, file: file, line: line)
  }

  /// Writes 1, 2 or 4 consecutive elements, aligned to their total size.
  public func store<T: DataScalar>(
    _ values: [Value<T>], to destination: GlobalPointer<T>, _ caching: Caching = .plain,
    file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.requireOwn(destination.address.emitter, at: location)
    guard vectorCount(values.count, "store", location) == values.count else { return }
    let access = Op.MemoryAccess(
      .global, T.element, offset: destination.offset, ordering: caching.ordering,
      l1: caching.l1, hasPolicy: caching.policy != nil)
    emitter.perform(
      .memory(.st(access)),
      [destination.address.operand] + values.map(\.operand) + policy(caching), at: location)
  }

  private func policy(_ caching: Caching) -> [Operand] {
    caching.policy.map { [.constant($0)] } ?? []
  }

  private func vectorCount(_ count: Int, _ what: String, _ location: SourceLocation) -> Int {
    if count == 1 || count == 2 || count == 4 { return count }
    emitter.fail("\(what): count must be 1, 2 or 4; found \(count).", at: location)
    // A result of the length asked for, so that the kernel's own loops go on.
    return max(1, count)
  }

  // MARK: - Shared memory

  /// One element of shared memory.
  public func load<T: DataScalar>(
    _ source: SharedPointer<T>, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    load(source, count: 1, file: file, line: line)[0]
  }

  /// `count` (1, 2 or 4) consecutive elements, aligned to their total size.
  public func load<T: DataScalar>(
    _ source: SharedPointer<T>, count: Int, file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    let location = emitter.settle(file, line)
    emitter.requireOwn(source.address.emitter, at: location)
    let count = vectorCount(count, "load", location)
    return emitter.values(
      .memory(.ld(Op.MemoryAccess(.shared, T.element, offset: source.offset))),
      [source.address.operand], count: count, at: location)
  }

  /// Writes one element of shared memory.
  public func store<T: DataScalar>(
    _ value: Value<T>, to destination: SharedPointer<T>, file: String = #fileID,
    line: Int = #line
  ) {
    store([value], to: destination, file: file, line: line)
  }

  /// Writes 1, 2 or 4 consecutive elements, aligned to their total size.
  public func store<T: DataScalar>(
    _ values: [Value<T>], to destination: SharedPointer<T>, file: String = #fileID,
    line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.requireOwn(destination.address.emitter, at: location)
    guard vectorCount(values.count, "store", location) == values.count else { return }
    emitter.perform(
      .memory(.st(Op.MemoryAccess(.shared, T.element, offset: destination.offset))),
      [destination.address.operand] + values.map(\.operand), at: location)
  }

  // MARK: - Atomics

  /// Combines an element of device memory with a value in one step; the result is what was there.
  public func atomic<T: DataScalar>(
    _ op: Op.AtomicOp, _ element: GlobalPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      op, .global, offset: element.offset, ordering: ordering, scope: scope)
    return emitter.value(
      .memory(.atom(access)), [element.address.operand, value.operand],
      at: emitter.settle(file, line))
  }

  /// Writes `value` if the element is `expected`; the result is what was there.
  public func compareAndSwap<T: DataScalar>(
    _ element: GlobalPointer<T>, expected: Value<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      .cas, .global, offset: element.offset, ordering: ordering, scope: scope)
    return emitter.value(
      .memory(.atom(access)), [element.address.operand, expected.operand, value.operand],
      at: emitter.settle(file, line))
  }

  /// Combines an element of device memory with a value; nobody learns what was there.
  public func reduce<T: DataScalar>(
    _ op: Op.AtomicOp, into element: GlobalPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) {
    let access = Op.AtomicAccess(
      op, .global, offset: element.offset, ordering: ordering, scope: scope)
    emitter.perform(
      .memory(.red(access)), [element.address.operand, value.operand],
      at: emitter.settle(file, line))
  }

  /// Combines an element of shared memory with a value in one step; the result is what was there.
  public func atomic<T: DataScalar>(
    _ op: Op.AtomicOp, _ element: SharedPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      op, .shared, offset: element.offset, ordering: ordering, scope: scope)
    return emitter.value(
      .memory(.atom(access)), [element.address.operand, value.operand],
      at: emitter.settle(file, line))
  }
}
