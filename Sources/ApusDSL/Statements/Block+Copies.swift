public import ApusIR

extension Block {
  // MARK: - cp.async

  /// Copies 4, 8 or 16 bytes per thread from device to shared memory without waiting.
  ///
  /// - Parameters:
  ///   - sourceBytes: bytes to read; the rest of the destination becomes zeros.
  ///   - bypassesL1: whether to skip L1, possible with 16 bytes and the default there.
  ///   - policy: L2 policy, one of `CachePolicy`.
  public func copyAsync<S: DataScalar, D: DataScalar>(
    from source: GlobalPointer<S>, to destination: SharedPointer<D>, bytes: Int = 16,
    sourceBytes: Value<U32>? = nil, l2Prefetch: Op.L2Prefetch = .none,
    bypassesL1: Bool? = nil, policy: Constant? = nil, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    let copy = Op.AsyncCopy(
      byteCount: bytes, destinationOffset: destination.offset, sourceOffset: source.offset,
      hasSourceSize: sourceBytes != nil, bypassesL1: bypassesL1, l2Prefetch: l2Prefetch,
      hasPolicy: policy != nil)
    var operands = [destination.address.operand, source.address.operand]
    if let sourceBytes { operands.append(sourceBytes.operand) }
    if let policy { operands.append(.constant(policy)) }
    emitter.perform(.copy(.async(copy)), operands, at: location)
  }

  /// Closes the group of this thread's copies since the last one.
  @discardableResult
  public func commitAsync(file: String = #fileID, line: Int = #line) -> GroupToken {
    emitter.perform(.copy(.asyncCommit), at: emitter.settle(file, line))
    return emitter.commit(.copies)
  }

  /// Blocks until at most `pending` of this thread's newest groups are incomplete.
  public func waitAsync(pending: Int = 0, file: String = #fileID, line: Int = #line) {
    emitter.perform(.copy(.asyncWait(pending: pending)), at: emitter.settle(file, line))
  }

  /// Arrives at a barrier once this thread's copies are complete.
  ///
  /// - Parameter isCounted: whether the arrival is one of the barrier's own count; otherwise the
  ///   pending count is raised by one first.
  public func arriveAsync(
    _ barrier: MBarrier, isCounted: Bool = true, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .copy(.asyncArrive(offset: barrier.offset, isCounted: isCounted)),
      [barrier.address.operand], at: emitter.settle(file, line))
  }

  // MARK: - Tensor copies

  /// Copies one box of a tensor to shared memory; issue it from one thread.
  ///
  /// - Parameters:
  ///   - coordinates: of the box's first element, innermost first.
  ///   - barrier: receives the bytes of the box; announce them with `arrive(_:expecting:)`.
  ///   - blocks: bit mask of the blocks of the cluster that receive the box, or this block only.
  public func loadTensor<T: DataScalar>(
    _ map: TensorMapParameter, at coordinates: [Value<S32>], to destination: SharedPointer<T>,
    signalling barrier: MBarrier, blocks: Value<U16>? = nil, policy: Constant? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    let access = Op.TensorAccess(
      dimensions: coordinates.count, sharedOffset: destination.offset,
      barrierOffset: barrier.offset, isMulticast: blocks != nil, hasPolicy: policy != nil)
    var operands = [destination.address.operand, map.address.operand]
    operands += coordinates.map { $0.operand }
    operands.append(barrier.address.operand)
    if let blocks { operands.append(blocks.operand) }
    if let policy { operands.append(.constant(policy)) }
    emitter.perform(
      .copy(.tensorLoad(access)), operands, at: emitter.settle(file, line))
  }

  /// Copies a box from shared memory to a tensor, or combines it element by element; joins this
  /// thread's open bulk group, which `commitBulk` closes.
  public func storeTensor<T: DataScalar>(
    _ source: SharedPointer<T>, to map: TensorMapParameter, at coordinates: [Value<S32>],
    reduction: Op.ReductionOp? = nil, policy: Constant? = nil, file: String = #fileID,
    line: Int = #line
  ) {
    let access = Op.TensorAccess(
      dimensions: coordinates.count, sharedOffset: source.offset, hasPolicy: policy != nil)
    var operands = [map.address.operand] + coordinates.map { $0.operand }
    operands.append(source.address.operand)
    if let policy { operands.append(.constant(policy)) }
    emitter.perform(
      .copy(.tensorStore(access, reduction: reduction)), operands,
      at: emitter.settle(file, line))
  }

  /// A hint to fetch the map itself.
  public func prefetch(
    _ map: TensorMapParameter, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .copy(.prefetchTensorMap), [map.address.operand], at: emitter.settle(file, line))
  }

  /// Closes the group of this thread's bulk and tensor stores.
  @discardableResult
  public func commitBulk(file: String = #fileID, line: Int = #line) -> GroupToken {
    emitter.perform(.copy(.bulkCommit), at: emitter.settle(file, line))
    return emitter.commit(.bulkStores)
  }

  /// Blocks until at most `pending` bulk groups are incomplete, or have yet to read their sources.
  public func waitBulk(
    pending: Int = 0, isReadOnly: Bool = false, file: String = #fileID, line: Int = #line
  ) {
    emitter.perform(
      .copy(.bulkWait(pending: pending, isReadOnly: isReadOnly)),
      at: emitter.settle(file, line))
  }
}
