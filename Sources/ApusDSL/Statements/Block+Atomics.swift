public import ApusIR

extension Block {
  // MARK: - Device memory

  /// Combines an element of device memory with a value in one step; the result is what was there.
  public func atomic<T: DataScalar>(
    _ op: Op.AtomicOp, _ element: GlobalPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      op, .global, offset: element.offset, ordering: ordering, scope: scope)
    return atomic(access, [element.address.operand, value.operand], file, line)
  }

  /// Writes `value` if the element is `expected`; the result is what was there.
  public func compareAndSwap<T: DataScalar>(
    _ element: GlobalPointer<T>, expected: Value<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      .cas, .global, offset: element.offset, ordering: ordering, scope: scope)
    return atomic(
      access, [element.address.operand, expected.operand, value.operand], file, line)
  }

  /// Combines an element of device memory with a value; nobody learns what was there.
  public func reduce<T: DataScalar>(
    _ op: Op.AtomicOp, into element: GlobalPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) {
    let access = Op.AtomicAccess(
      op, .global, offset: element.offset, ordering: ordering, scope: scope)
    reduce(access, [element.address.operand, value.operand], file, line)
  }

  /// Adds 2 or 4 consecutive elements of device memory, each one atomically by itself, aligned to
  /// their total size; sm_90a.
  public func reduce(
    adding values: [Value<F32>], into element: GlobalPointer<F32>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .gpu, file: String = #fileID,
    line: Int = #line
  ) {
    require(
      values.count == 1 || values.count == 2 || values.count == 4,
      "reduce: count must be 1, 2 or 4; found \(values.count).", file: file, line: line)
    let access = Op.AtomicAccess(
      .add, .global, offset: element.offset, ordering: ordering, scope: scope)
    reduce(access, [element.address.operand] + values.map { $0.operand }, file, line)
  }

  // MARK: - Shared memory

  /// Combines an element of shared memory, of this block or after `mapped` of another one of the
  /// cluster, with a value in one step; the result is what was there.
  public func atomic<T: DataScalar>(
    _ op: Op.AtomicOp, _ element: SharedPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      op, element.space, offset: element.offset, ordering: ordering, scope: scope)
    return atomic(access, [element.address.operand, value.operand], file, line)
  }

  /// Writes `value` if the element of shared memory is `expected`; the result is what was there.
  public func compareAndSwap<T: DataScalar>(
    _ element: SharedPointer<T>, expected: Value<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) -> Value<T> {
    let access = Op.AtomicAccess(
      .cas, element.space, offset: element.offset, ordering: ordering, scope: scope)
    return atomic(
      access, [element.address.operand, expected.operand, value.operand], file, line)
  }

  /// Combines an element of shared memory with a value; nobody learns what was there.
  public func reduce<T: DataScalar>(
    _ op: Op.AtomicOp, into element: SharedPointer<T>, _ value: Value<T>,
    ordering: Op.AtomicOrdering = .relaxed, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) {
    let access = Op.AtomicAccess(
      op, element.space, offset: element.offset, ordering: ordering, scope: scope)
    reduce(access, [element.address.operand, value.operand], file, line)
  }

  private func atomic<T: DataScalar>(
    _ access: Op.AtomicAccess, _ operands: [Operand], _ file: String, _ line: Int
  ) -> Value<T> {
    emitter.value(.memory(.atom(access)), operands, at: emitter.settle(file, line))
  }

  private func reduce(
    _ access: Op.AtomicAccess, _ operands: [Operand], _ file: String, _ line: Int
  ) {
    emitter.perform(.memory(.red(access)), operands, at: emitter.settle(file, line))
  }
}
