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
      .global, T.memoryElement, offset: source.offset, ordering: caching.ordering,
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
      .global, T.memoryElement, offset: destination.offset, ordering: caching.ordering,
      l1: caching.l1, hasPolicy: caching.policy != nil)
    emitter.perform(
      .memory(.st(access)),
      [destination.address.operand] + values.map { $0.operand } + policy(caching), at: location)
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
    _ source: SharedPointer<T>, ordering: Op.Ordering = .weak, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    load(source, count: 1, ordering: ordering, file: file, line: line)[0]
  }

  /// `count` (1, 2 or 4) consecutive elements, aligned to their total size.
  public func load<T: DataScalar>(
    _ source: SharedPointer<T>, count: Int, ordering: Op.Ordering = .weak,
    file: String = #fileID, line: Int = #line
  ) -> [Value<T>] {
    let location = emitter.settle(file, line)
    emitter.requireOwn(source.address.emitter, at: location)
    let count = vectorCount(count, "load", location)
    let access = Op.MemoryAccess(
      source.space, T.memoryElement, offset: source.offset, ordering: ordering)
    return emitter.values(
      .memory(.ld(access)), [source.address.operand], count: count, at: location)
  }

  /// Writes one element of shared memory.
  public func store<T: DataScalar>(
    _ value: Value<T>, to destination: SharedPointer<T>, ordering: Op.Ordering = .weak,
    file: String = #fileID, line: Int = #line
  ) {
    store([value], to: destination, ordering: ordering, file: file, line: line)
  }

  /// Writes 1, 2 or 4 consecutive elements, aligned to their total size.
  public func store<T: DataScalar>(
    _ values: [Value<T>], to destination: SharedPointer<T>, ordering: Op.Ordering = .weak,
    file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.requireOwn(destination.address.emitter, at: location)
    guard vectorCount(values.count, "store", location) == values.count else { return }
    let access = Op.MemoryAccess(
      destination.space, T.memoryElement, offset: destination.offset, ordering: ordering)
    emitter.perform(
      .memory(.st(access)), [destination.address.operand] + values.map { $0.operand },
      at: location)
  }
}
