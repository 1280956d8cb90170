public import ApusIR

/// A hardware barrier with a name and a thread count.
public struct NamedBarrierSet {
  let id: NamedBarrierID
  let index: Value<U32>?

  /// Barrier `index` of several that share a meaning.
  public subscript(index: Value<U32>) -> NamedBarrierSet { NamedBarrierSet(id: id, index: index) }
}

extension Block {
  /// Waits for all threads of the block and orders their memory accesses.
  public func syncThreads(file: String = #fileID, line: Int = #line) {
    let location = emitter.settle(file, line)
    emitter.perform(
      .synchronisation(.barrierSync(emitter.wholeBlockBarrier())), at: location)
  }

  /// Barriers with the next free hardware numbers (15 in all, beside that of `syncThreads`).
  ///
  /// - Parameter threads: what completes a phase, arriving and waiting ones together.
  public func namedBarrier(_ name: String, count: Int = 1, threads: Int) -> NamedBarrierSet {
    NamedBarrierSet(
      id: emitter.addBarrier(name: name, count: count, threads: threads), index: nil)
  }

  /// Arrives with the whole warp and waits.
  public func sync(_ barrier: NamedBarrierSet, file: String = #fileID, line: Int = #line) {
    let location = emitter.settle(file, line)
    emitter.perform(
      .synchronisation(.barrierSync(barrier.id)), barrier.index.map { [$0.operand] } ?? [],
      at: location)
  }

  /// Arrives with the whole warp and goes on.
  public func arrive(_ barrier: NamedBarrierSet, file: String = #fileID, line: Int = #line) {
    let location = emitter.settle(file, line)
    emitter.perform(
      .synchronisation(.barrierArrive(barrier.id)), barrier.index.map { [$0.operand] } ?? [],
      at: location)
  }

  /// Orders accesses as the kind says.
  public func fence(_ kind: Op.FenceKind, file: String = #fileID, line: Int = #line) {
    emitter.perform(.synchronisation(.fence(kind)), at: emitter.settle(file, line))
  }
}
