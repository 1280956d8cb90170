public import ApusIR

/// How many bytes a bulk copy moves: a multiple of 16, known now or by the kernel.
public enum ByteCount {
  /// Known at elaboration.
  case known(Int)
  /// Computed by the kernel.
  case computed(Value<U32>)

  func operand(_ emitter: Emitter, _ location: SourceLocation) -> Operand {
    switch self {
    case .known(let bytes):
      if bytes <= 0 || bytes % 16 != 0 {
        emitter.fail(
          "bulk copy: bytes must be a positive multiple of 16; found \(bytes).", at: location)
      }
      return emitter.u32(max(0, bytes), at: location)
    case .computed(let bytes):
      emitter.requireOwn(bytes.emitter, at: location)
      return bytes.operand
    }
  }
}

extension ByteCount: ExpressibleByIntegerLiteral {
  /// A known count.
  public init(integerLiteral value: Int) { self = .known(value) }
}

extension Block {
  // MARK: - Plain bulk copies

  /// Copies consecutive bytes from device to shared memory without waiting; issue it from one
  /// thread. Addresses and size are multiples of 16.
  ///
  /// - Parameters:
  ///   - barrier: receives the bytes; announce them with `arrive(_:expecting:)`.
  ///   - blocks: bit mask of the blocks of the cluster that receive the copy, or this block only.
  ///   - policy: L2 policy, one of `CachePolicy`.
  public func copyBulk<S: DataScalar, D: DataScalar>(
    from source: GlobalPointer<S>, to destination: SharedPointer<D>, bytes: ByteCount,
    signalling barrier: MBarrier, blocks: Value<U16>? = nil, policy: Constant? = nil,
    file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    let access = Op.BulkAccess(
      destinationOffset: destination.offset, sourceOffset: source.offset,
      barrierOffset: barrier.offset, isMulticast: blocks != nil, hasPolicy: policy != nil)
    var operands = [
      destination.address.operand, source.address.operand, bytes.operand(emitter, location),
      barrier.address.operand,
    ]
    if let blocks { operands.append(blocks.operand) }
    if let policy { operands.append(.constant(policy)) }
    emitter.perform(.copy(.bulkLoad(access)), operands, at: location)
  }

  /// Copies consecutive bytes from shared to device memory; joins this thread's open bulk group,
  /// which `commitBulk` closes. Before it, the threads that wrote the source fence with
  /// `fence(.proxyAsync(.shared))` and meet at a barrier.
  public func storeBulk<S: DataScalar, D: DataScalar>(
    _ source: SharedPointer<S>, to destination: GlobalPointer<D>, bytes: ByteCount,
    policy: Constant? = nil, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    let access = Op.BulkAccess(
      destinationOffset: destination.offset, sourceOffset: source.offset, hasPolicy: policy != nil)
    var operands = [
      destination.address.operand, source.address.operand, bytes.operand(emitter, location),
    ]
    if let policy { operands.append(.constant(policy)) }
    emitter.perform(.copy(.bulkStore(access)), operands, at: location)
  }

  /// Copies consecutive bytes to the shared memory of a block of the cluster.
  ///
  /// - Parameters:
  ///   - destination: of `mapped(toRank:)`.
  ///   - barrier: of the same block, of `mapped(toRank:)`; it receives the bytes.
  public func copyBulk<S: DataScalar, D: DataScalar>(
    from source: SharedPointer<S>, toCluster destination: SharedPointer<D>, bytes: ByteCount,
    signalling barrier: MBarrier, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    let access = Op.BulkAccess(
      destinationOffset: destination.offset, sourceOffset: source.offset,
      barrierOffset: barrier.offset)
    emitter.perform(
      .copy(.bulkCopyToCluster(access)),
      [
        destination.address.operand, source.address.operand, bytes.operand(emitter, location),
        barrier.address.operand,
      ], at: location)
  }

  /// Writes 1, 2 or 4 elements to the shared memory of a block of the cluster, and their bytes to a
  /// barrier of that block; both of `mapped(toRank:)`.
  public func storeAsync<T: DataScalar>(
    _ values: [Value<T>], to destination: SharedPointer<T>, signalling barrier: MBarrier,
    file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.perform(
      .copy(.storeAsync(offset: destination.offset, barrierOffset: barrier.offset)),
      [destination.address.operand] + values.map { $0.operand } + [barrier.address.operand],
      at: location)
  }

  // MARK: - Hints

  /// A hint to bring consecutive bytes of device memory into L2; sm_90a.
  public func prefetchBulk<T: DataScalar>(
    _ source: GlobalPointer<T>, bytes: ByteCount, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.perform(
      .copy(.bulkPrefetch(offset: source.offset)),
      [source.address.operand, bytes.operand(emitter, location)], at: location)
  }

  /// A hint to bring a box of a tensor into L2.
  public func prefetchTensor(
    _ map: TensorMapParameter, at coordinates: [Value<S32>], file: String = #fileID,
    line: Int = #line
  ) {
    emitter.perform(
      .copy(.tensorPrefetch(dimensions: coordinates.count)),
      [map.address.operand] + coordinates.map { $0.operand }, at: emitter.settle(file, line))
  }

  /// A hint to bring the cache line of an element of device memory closer.
  public func prefetch<T: DataScalar>(
    _ element: GlobalPointer<T>, into level: Op.PrefetchLevel = .l2, file: String = #fileID,
    line: Int = #line
  ) {
    emitter.perform(
      .memory(.prefetch(level, offset: element.offset)), [element.address.operand],
      at: emitter.settle(file, line))
  }
}
