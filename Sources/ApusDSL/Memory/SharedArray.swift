public import ApusIR

/// An address of elements of one type in shared memory: the block's own, or after `mapped` that of
/// another block of the cluster.
public struct SharedPointer<T: DataScalar> {
  /// Bytes; the element is at `address` + `offset`.
  public let address: Value<U32>
  /// Bytes known at elaboration.
  let offset: Int
  /// `shared`, or `sharedCluster` after `mapped`.
  let space: Op.MemorySpace

  /// The pointer at a byte address computed by the kernel.
  public init(address: Value<U32>) { self.init(address: address, offset: 0) }

  init(address: Value<U32>, offset: Int, space: Op.MemorySpace = .shared) {
    self.address = address
    self.offset = offset
    self.space = space
  }

  /// The address `bytes` further on, an immediate of the instruction.
  public func advanced(bytes: Int) -> SharedPointer {
    SharedPointer(address: address, offset: offset + bytes, space: space)
  }

  /// The whole address in one register.
  public var resolved: Value<U32> { offset == 0 ? address : address + offset }

  /// The address of element `index`.
  public subscript(index: Value<U32>) -> SharedPointer {
    let size = T.byteCount
    let emitter = address.emitter
    emitter.requireOwn(index.emitter)
    let sum: Value<U32> = emitter.value(
      .arithmetic(.mad), [index.operand, emitter.u32(size), address.operand])
    return SharedPointer(address: sum, offset: offset, space: space)
  }

  /// The address of element `index`, an immediate of the instruction.
  public subscript(index: Int) -> SharedPointer {
    SharedPointer(address: address, offset: offset + index * T.byteCount, space: space)
  }

  /// The same address of elements of another type.
  public func cast<R: DataScalar>(to type: R.Type) -> SharedPointer<R> {
    SharedPointer<R>(address: address, offset: offset, space: space)
  }

  /// The same byte in the shared memory of another block of the cluster: distributed shared memory.
  /// Loads, stores, atomics, `storeAsync` and `copyBulk(from:toCluster:)` take it.
  public func mapped(toRank rank: Value<U32>) -> SharedPointer {
    SharedPointer(
      address: resolved.combine(.memory(.mapa), rank), offset: 0, space: .sharedCluster)
  }
}

/// Shared memory that another allocation may lie over, once its contents are spent.
public protocol SharedRegion {
  /// The allocation it lies in.
  var allocation: SharedID { get }
}

/// A row of elements in shared memory.
public struct SharedArray<T: DataScalar>: SharedRegion {
  let id: SharedID
  let emitter: Emitter
  /// Elements.
  public let count: Int

  /// The allocation.
  public var allocation: SharedID { id }

  /// The address of element 0.
  public var pointer: SharedPointer<T> {
    SharedPointer(address: emitter.value(.memory(.sharedAddress(id, offset: 0))), offset: 0)
  }

  /// The address of element `index`.
  public subscript(index: Value<U32>) -> SharedPointer<T> { pointer[index] }

  /// The address of element `index`, which must be below `count`.
  public subscript(index: Int) -> SharedPointer<T> {
    if index < 0 || index >= count {
      emitter.fail("SharedArray: index must be in 0..<\(count); found \(index).")
    }
    return pointer[index]
  }
}

extension Block {
  /// Shared memory for `count` elements, behind all earlier allocations.
  ///
  /// - Parameter region: where to lie instead: over an allocation whose contents are spent by then.
  ///   The kernel's own barriers must keep the two uses apart; the simulator checks it.
  public func shared<T: DataScalar>(
    _ name: String, _ type: T.Type, count: Int, alignment: Int = 16,
    over region: (any SharedRegion)? = nil, file: String = #fileID, line: Int = #line
  ) -> SharedArray<T> {
    if count < 0 {
      elaborationFailure(
        "shared: count must not be negative; found \(count).", file: file, line: line)
    }
    let id = emitter.builder.addShared(
      name: name, byteCount: max(0, count) * T.byteCount, alignment: alignment,
      at: region.map { emitter.builder.tables.shared[$0.allocation.index].offset })
    return SharedArray(id: id, emitter: emitter, count: count)
  }
}
