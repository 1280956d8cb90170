import ApusIR

/// An address of elements of one type in the block's shared memory.
public struct SharedPointer<T: DataScalar> {
  /// Bytes; the element is at `address` + `offset`.
  public let address: Value<U32>
  /// Bytes known at elaboration.
  let offset: Int

  /// The whole address in one register.
  public var resolved: Value<U32> { offset == 0 ? address : address + offset }

  /// The address of element `index`.
  public subscript(index: Value<U32>) -> SharedPointer {
    let size = T.type.bitWidth / 8
    let emitter = address.emitter
    emitter.requireOwn(index.emitter)
    let sum: Value<U32> = emitter.value(
      .arithmetic(.mad), [index.operand, emitter.u32(size), address.operand])
    return SharedPointer(address: sum, offset: offset)
  }

  /// The address of element `index`, an immediate of the instruction.
  public subscript(index: Int) -> SharedPointer {
    SharedPointer(address: address, offset: offset + index * (T.type.bitWidth / 8))
  }

  /// The same address of elements of another type.
  public func cast<R: DataScalar>(to type: R.Type) -> SharedPointer<R> {
    SharedPointer<R>(address: address, offset: offset)
  }

  /// The same byte in the shared memory of another block of the cluster.
  public func mapped(toRank rank: Value<U32>) -> SharedPointer {
    SharedPointer(address: resolved.combine(.memory(.mapa), rank), offset: 0)
  }
}

/// A row of elements in shared memory.
public struct SharedArray<T: DataScalar> {
  let id: SharedID
  let emitter: Emitter
  /// Elements.
  public let count: Int

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
  public func shared<T: DataScalar>(
    _ name: String, _ type: T.Type, count: Int, alignment: Int = 16, file: String = #fileID,
    line: Int = #line
  ) -> SharedArray<T> {
    if count < 0 {
      elaborationFailure(
        "shared: count must not be negative; found \(count).", file: file, line: line)
    }
    let id = emitter.builder.addShared(
      name: name, byteCount: max(0, count) * (T.type.bitWidth / 8), alignment: alignment)
    return SharedArray(id: id, emitter: emitter, count: count)
  }
}
