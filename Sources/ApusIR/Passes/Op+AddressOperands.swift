extension Op {
  /// Operands that are addresses with an immediate offset.
  func addressOperands(operandCount: Int) -> [Int] {
    switch self {
    case .memory(.ld), .memory(.st), .memory(.atom), .memory(.red), .memory(.prefetch): [0]
    case .synchronisation(let op):
      switch op {
      case .mbarrierInit, .mbarrierInvalidate, .mbarrierArrive, .mbarrierArriveExpect,
        .mbarrierExpect, .mbarrierWait, .mbarrierTest:
        [0]
      default: []
      }
    case .copy(let op):
      switch op {
      case .async, .bulkStore: [0, 1]
      case .asyncArrive, .bulkPrefetch: [0]
      case .bulkLoad, .bulkCopyToCluster: [0, 1, 3]
      case .tensorLoad(let access): [0, 2 + access.dimensions]
      case .tensorStore(let access, _): [1 + access.dimensions]
      case .storeAsync: [0, operandCount - 1]
      default: []
      }
    case .tensorCore(.ldmatrix), .tensorCore(.stmatrix): [0]
    default: []
    }
  }

  /// The op with `bytes` more on the offset of the address at operand `index`; nil if the offset
  /// would leave 24 bits. Alignment is that of the whole address, which does not change.
  func adding(_ bytes: Int, toAddress index: Int, of node: Node) -> Op? {
    func moved(_ offset: Int) -> Int? {
      let sum = offset + bytes
      return AddressOffsets.offsetRange.contains(sum) ? sum : nil
    }
    switch self {
    case .memory(let op): return op.moved(moved).map(Op.memory)
    case .synchronisation(let op):
      return op.moved(moved).map(Op.synchronisation)
    case .copy(let op):
      return op.moved(operand: index, last: node.operands.count - 1, moved).map(Op.copy)
    case .tensorCore(.ldmatrix(var access)):
      guard let offset = moved(access.offset) else { return nil }
      access.offset = offset
      return .tensorCore(.ldmatrix(access))
    case .tensorCore(.stmatrix(var access)):
      guard let offset = moved(access.offset) else { return nil }
      access.offset = offset
      return .tensorCore(.stmatrix(access))
    default: return nil
    }
  }
}

extension Op.Memory {
  fileprivate func moved(_ move: (Int) -> Int?) -> Op.Memory? {
    switch self {
    case .ld(var access):
      guard let offset = move(access.offset) else { return nil }
      access.offset = offset
      return .ld(access)
    case .st(var access):
      guard let offset = move(access.offset) else { return nil }
      access.offset = offset
      return .st(access)
    case .atom(var access):
      guard let offset = move(access.offset) else { return nil }
      access.offset = offset
      return .atom(access)
    case .red(var access):
      guard let offset = move(access.offset) else { return nil }
      access.offset = offset
      return .red(access)
    case .prefetch(let level, let offset): return move(offset).map { .prefetch(level, offset: $0) }
    case .parameter, .parameterAddress, .sharedAddress, .mapa: return nil
    }
  }
}

extension Op.Synchronisation {
  fileprivate func moved(_ move: (Int) -> Int?) -> Op.Synchronisation? {
    func arrive(_ value: Op.MBarrierArrive) -> Op.MBarrierArrive? {
      var value = value
      guard let offset = move(value.offset) else { return nil }
      value.offset = offset
      return value
    }
    func wait(_ value: Op.MBarrierWait) -> Op.MBarrierWait? {
      var value = value
      guard let offset = move(value.offset) else { return nil }
      value.offset = offset
      return value
    }
    switch self {
    case .mbarrierInit(let offset): return move(offset).map { .mbarrierInit(offset: $0) }
    case .mbarrierInvalidate(let offset):
      return move(offset).map { .mbarrierInvalidate(offset: $0) }
    case .mbarrierArrive(let value): return arrive(value).map { .mbarrierArrive($0) }
    case .mbarrierArriveExpect(let value): return arrive(value).map { .mbarrierArriveExpect($0) }
    case .mbarrierExpect(let value): return arrive(value).map { .mbarrierExpect($0) }
    case .mbarrierWait(let value): return wait(value).map { .mbarrierWait($0) }
    case .mbarrierTest(let value): return wait(value).map { .mbarrierTest($0) }
    default: return nil
    }
  }
}

extension Op.Copy {
  fileprivate func moved(
    operand index: Int, last: Int, _ move: (Int) -> Int?
  ) -> Op.Copy? {
    func bulk(_ access: Op.BulkAccess) -> Op.BulkAccess? {
      var access = access
      let path: WritableKeyPath<Op.BulkAccess, Int> =
        index == 0 ? \.destinationOffset : index == 1 ? \.sourceOffset : \.barrierOffset
      guard let offset = move(access[keyPath: path]) else { return nil }
      access[keyPath: path] = offset
      return access
    }
    switch self {
    case .async(var copy):
      let path: WritableKeyPath<Op.AsyncCopy, Int> =
        index == 0 ? \.destinationOffset : \.sourceOffset
      guard let offset = move(copy[keyPath: path]) else { return nil }
      copy[keyPath: path] = offset
      return .async(copy)
    case .asyncArrive(let offset, let isCounted):
      return move(offset).map { .asyncArrive(offset: $0, isCounted: isCounted) }
    case .bulkLoad(let access): return bulk(access).map { .bulkLoad($0) }
    case .bulkStore(let access): return bulk(access).map { .bulkStore($0) }
    case .bulkCopyToCluster(let access): return bulk(access).map { .bulkCopyToCluster($0) }
    case .bulkPrefetch(let offset): return move(offset).map { .bulkPrefetch(offset: $0) }
    case .tensorLoad(var access):
      let path: WritableKeyPath<Op.TensorAccess, Int> =
        index == 0 ? \.sharedOffset : \.barrierOffset
      guard let offset = move(access[keyPath: path]) else { return nil }
      access[keyPath: path] = offset
      return .tensorLoad(access)
    case .tensorStore(var access, let reduction):
      guard let offset = move(access.sharedOffset) else { return nil }
      access.sharedOffset = offset
      return .tensorStore(access, reduction: reduction)
    case .storeAsync(let offset, let barrier):
      return index == last
        ? move(barrier).map { .storeAsync(offset: offset, barrierOffset: $0) }
        : move(offset).map { .storeAsync(offset: $0, barrierOffset: barrier) }
    case .asyncCommit, .asyncWait, .bulkCommit, .bulkWait, .tensorPrefetch, .prefetchTensorMap:
      return nil
    }
  }
}
