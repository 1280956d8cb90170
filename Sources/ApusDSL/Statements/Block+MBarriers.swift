public import ApusIR

/// An array of mbarriers in shared memory, each phase of which takes the same arrivals.
public struct MBarriers {
  let id: SharedID
  let emitter: Emitter
  /// How many barriers.
  public let count: Int
  /// Arrivals that complete a phase.
  public let arrivals: Int

  private var address: Value<U32> { emitter.value(.memory(.sharedAddress(id, offset: 0))) }

  /// Barrier `index`, which is below `count`.
  public subscript(index: Value<U32>) -> MBarrier {
    MBarrier(address: index * 8 + address, offset: 0, space: .shared)
  }

  /// Barrier `index`.
  public subscript(index: Int) -> MBarrier {
    if index < 0 || index >= count {
      emitter.fail("MBarriers: index must be in 0..<\(count); found \(index).")
    }
    return MBarrier(address: address, offset: 8 * index, space: .shared)
  }
}

/// One mbarrier.
public struct MBarrier {
  let address: Value<U32>
  let offset: Int
  let space: Op.MemorySpace

  /// The barrier at the same place in another block of the cluster.
  public func mapped(toRank rank: Value<U32>) -> MBarrier {
    let own = offset == 0 ? address : address + offset
    return MBarrier(
      address: own.combine(.memory(.mapa), rank), offset: 0, space: .sharedCluster)
  }
}

extension Block {
  /// Shared memory for mbarriers; `initialise` them before use.
  public func mbarriers(_ name: String, count: Int = 1, arrivals: Int) -> MBarriers {
    let id = emitter.builder.addShared(
      name: name, byteCount: 8 * max(0, count), alignment: 8,
      contents: .mbarriers(arrivals: arrivals))
    return MBarriers(id: id, emitter: emitter, count: count, arrivals: arrivals)
  }

  /// Starts phase 0 of all barriers of the arrays, by thread 0, and makes them visible to copies,
  /// to the cluster and, by a barrier of the block, to all threads. All threads take part.
  public func initialise(
    _ arrays: [MBarriers], file: String = #fileID, line: Int = #line
  ) {
    when(threadIndex == 0, file: file, line: line) {
      for barriers in arrays {
        for index in 0..<max(0, barriers.count) {
          let barrier = barriers[index]
          let location = emitter.settle(file, line)
          emitter.perform(
            .synchronisation(.mbarrierInit(offset: barrier.offset)),
            [barrier.address.operand, emitter.u32(barriers.arrivals, at: location)],
            at: location)
        }
      }
      if isHopper { fence(.mbarrierInit, file: file, line: line) }
    }
    syncThreads(file: file, line: line)
  }

  /// Subtracts `count` arrivals.
  public func arrive(
    _ barrier: MBarrier, count: Int = 1, ordering: Op.AtomicOrdering = .release,
    scope: Op.Scope = .block, file: String = #fileID, line: Int = #line
  ) {
    let arrive = Op.MBarrierArrive(
      space: barrier.space, offset: barrier.offset, count: count, ordering: ordering,
      scope: scope)
    emitter.perform(
      .synchronisation(.mbarrierArrive(arrive)), [barrier.address.operand],
      at: emitter.settle(file, line))
  }

  /// Announces bytes that copies will bring, and arrives once.
  public func arrive(
    _ barrier: MBarrier, expecting bytes: Int, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    arrive(barrier, expecting: emitter.u32(bytes, at: location), location)
  }

  /// Announces bytes, counted by the kernel, that copies will bring, and arrives once.
  public func arrive(
    _ barrier: MBarrier, expecting bytes: Value<U32>, file: String = #fileID, line: Int = #line
  ) {
    arrive(barrier, expecting: bytes.operand, emitter.settle(file, line))
  }

  private func arrive(
    _ barrier: MBarrier, expecting bytes: Operand, _ location: SourceLocation
  ) {
    let arrive = Op.MBarrierArrive(space: barrier.space, offset: barrier.offset)
    emitter.perform(
      .synchronisation(.mbarrierArriveExpect(arrive)), [barrier.address.operand, bytes],
      at: location)
  }

  /// Announces bytes that copies will bring, without an arrival.
  public func expect(
    _ barrier: MBarrier, bytes: Value<U32>, file: String = #fileID, line: Int = #line
  ) {
    let arrive = Op.MBarrierArrive(space: barrier.space, offset: barrier.offset)
    emitter.perform(
      .synchronisation(.mbarrierExpect(arrive)), [barrier.address.operand, bytes.operand],
      at: emitter.settle(file, line))
  }

  /// Whether the phase of this parity has completed; what it ordered is then visible.
  public func test(
    _ barrier: MBarrier, parity: Value<U32>, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) -> Value<Pred> {
    emitter.value(
      .synchronisation(.mbarrierTest(Op.MBarrierWait(offset: barrier.offset, scope: scope))),
      [barrier.address.operand, parity.operand], at: emitter.settle(file, line))
  }

  /// Ends a barrier's use, by one thread: its bytes may be reused.
  public func invalidate(_ barrier: MBarrier, file: String = #fileID, line: Int = #line) {
    emitter.perform(
      .synchronisation(.mbarrierInvalidate(offset: barrier.offset)),
      [barrier.address.operand], at: emitter.settle(file, line))
  }

  /// Blocks until the phase of this parity has completed.
  public func wait(
    _ barrier: MBarrier, parity: Value<U32>, scope: Op.Scope = .block, file: String = #fileID,
    line: Int = #line
  ) {
    emitter.perform(
      .synchronisation(.mbarrierWait(Op.MBarrierWait(offset: barrier.offset, scope: scope))),
      [barrier.address.operand, parity.operand], at: emitter.settle(file, line))
  }
}
